// The clients' browser bundles in a real Chromium: a page for each, on which the same checks run.

import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Missing } from "./table.mjs";

const require = createRequire(import.meta.url);
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const SCRIPTS = ["clients/checks.mjs", "harness/wait.mjs"];

export class Chromium {
  #browser;
  #server; // of the pages
  #pages = new Map(); // module: {page, errors}

  static async start() {
    if (!existsSync(EXECUTABLE)) {
      throw new Missing(`there is no ${EXECUTABLE}: as root run apt-get install chromium, or name a Chromium with CHROMIUM`);
    }
    const started = new Chromium();
    started.#server = createServer(serve).listen(0, "127.0.0.1");
    await once(started.#server, "listening");
    started.#browser = await chromium.launch({ executablePath: EXECUTABLE, headless: true, args: ARGUMENTS });
    return started;
  }

  async run({ module, ...cell }, checks) {
    try {
      if (!this.#pages.has(module)) this.#pages.set(module, await this.#open(module));
      const { page, errors } = this.#pages.get(module);
      const results = await page.evaluate(runInPage, { cell, checks });
      if (errors.length > 0) results.push({ check: "nothing is thrown", error: errors.splice(0).join("; ") });
      return results;
    } catch (error) {
      return [{ check: "the page runs", error: error.message }];
    }
  }

  // With a profile of its own, so that the pages do not share a server's few connections.
  async #open(module) {
    const context = await this.#browser.newContext();
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(`http://127.0.0.1:${this.#server.address().port}/${module}.html`);
    return { page, errors };
  }

  async stop() {
    await this.#browser?.close();
    this.#server.close();
  }
}

async function runInPage({ cell, checks }) {
  const { runChecks } = await import("/clients/checks.mjs");
  return runChecks({ ...cell, io: window.io }, checks);
}

// Pages `/MODULE.html` with the module's bundle, and what the checks import.
function serve(request, response) {
  const path = request.url.slice(1);
  const [, module, ending] = /^(socket\.io-client(?:-\d)?)\.(html|js)$/.exec(path) ?? [];
  if (SCRIPTS.includes(path)) return answer("text/javascript", readFileSync(join(ROOT, path)));
  if (ending === "html") return answer("text/html", `<!doctype html><meta charset=utf-8><body><script src="/${module}.js"></script>`);
  if (ending === "js") return answer("text/javascript", readFileSync(join(folderOf(module), "dist/socket.io.js")));
  response.writeHead(404).end();

  function answer(type, body) {
    response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` }).end(body);
  }
}

const folderOf = (module) => dirname(require.resolve(`${module}/package.json`));
