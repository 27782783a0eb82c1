// The path below which the engine serves.

import assert from "node:assert/strict";
import { engineTest, socketioTest } from "../harness/suite.mjs";

const QUERY = "?EIO=4&transport=polling";

const served = async (app, path) => (await app.fetch(path + QUERY)).body.startsWith("0{");

for (const [name, options, yes, no, ids] of [
  ["path with a slash at its end is the same", { path: "/test/" }, ["/test/", "/test/sub"], ["/test", "/engine.io/"], ""],
  ["path may have several parts", { path: "/a/b" }, ["/a/b/"], ["/a/", "/b/", "/a/b"], ""],
  ["addTrailingSlash true serves below the slash", { addTrailingSlash: true }, ["/engine.io/", "/engine.io/foo/bar/"], ["/engine.io"], ""],
  ["addTrailingSlash false serves the prefix", { addTrailingSlash: false }, ["/engine.io", "/engine.io/", "/engine.io/foo/bar/"], ["/engine", "/"], "[EIO-042]"],
]) {
  engineTest(`path: ${name} ${ids}`, { options }, async (app) => {
    for (const path of yes) assert.ok(await served(app, path), path);
    for (const path of no) assert.ok(!(await served(app, path)), path);
  });
}

engineTest("path: without the slash a websocket is served as well [EIO-042]", { options: { addTrailingSlash: false } }, async (app) => {
  const websocket = await app.rawWebSocket("/engine.io?EIO=4&transport=websocket");
  assert.equal(websocket.http.status, 101);
  assert.match(await websocket.text(), /^0\{/);
  websocket.abort();
});

const SOCKETIO = { env: { OPTIONS: JSON.stringify({ path: "/custom", addTrailingSlash: false }) } };

socketioTest("path: Socket.IO hands both options on [EIO-042]", SOCKETIO, async (app) => {
  assert.ok(await served(app, "/custom"));
  assert.ok(!(await served(app, "/socket.io/")));
});
