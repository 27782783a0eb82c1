// nginx before servers, as people configure it for WebSocket; for each server once buffering and once not.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetchOnce } from "../harness/raw_http.mjs";
import { freePort } from "../harness/server_process.mjs";
import { until } from "../harness/wait.mjs";
import { Missing } from "./table.mjs";

const EXECUTABLE = process.env.NGINX ?? "/usr/sbin/nginx"; // not in every user's PATH
const BUFFERING = { buffering: "on", "not buffering": "off" };

export class Nginx {
  #process;
  #prefix;
  #servers = []; // {url, buffering, port}

  static async start(urls) {
    if (!existsSync(EXECUTABLE)) {
      throw new Missing(`there is no ${EXECUTABLE}: as root run scripts/tools.sh nginx, or name an nginx with NGINX`);
    }
    const nginx = new Nginx();
    for (const url of urls) {
      for (const buffering of Object.keys(BUFFERING)) nginx.#servers.push({ url, buffering, port: await freePort() });
    }
    nginx.#prefix = mkdtempSync(join(tmpdir(), "protocol-tests-nginx-"));
    writeFileSync(join(nginx.#prefix, "nginx.conf"), nginx.#configuration());
    await nginx.#run();
    return nginx;
  }

  // The address before the server of this address.
  url(url, buffering) {
    const { port } = this.#servers.find((server) => server.url === url && server.buffering === buffering);
    return `http://127.0.0.1:${port}`;
  }

  async #run() {
    const args = ["-e", "stderr", "-p", this.#prefix, "-c", join(this.#prefix, "nginx.conf")];
    this.#process = spawn(EXECUTABLE, args, { stdio: ["ignore", "ignore", "inherit"] });
    process.on("exit", () => this.#process.kill());
    for (const { port } of this.#servers) {
      await until(() => {
        if (this.#process.exitCode !== null) throw new Error(`nginx ended with code ${this.#process.exitCode}`);
        return fetchOnce(port, { path: "/health" }).then(({ status }) => status === 200, () => false);
      }, "an answer through nginx");
    }
  }

  // One process and nothing outside of its own folder, so that it needs no rights and leaves nothing behind.
  #configuration() {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`);
    return `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.join("\n  ")}
  client_max_body_size 8m;
  map $http_upgrade $connection_upgrade {
    default upgrade;
    '' close;
  }
${this.#servers.map(serverBlock).join("")}}
`;
  }

  async stop() {
    if (this.#process?.exitCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#prefix, { recursive: true, force: true });
  }
}

const serverBlock = ({ url, buffering, port }) => `  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${url};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering ${BUFFERING[buffering]};
      proxy_request_buffering ${BUFFERING[buffering]};
    }
  }
`;
