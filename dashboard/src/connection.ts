// The connection to the job monitor: one socket, its states in words, requests that are answered or fail in time.

import { io, type Socket } from "socket.io-client";
import type { Answer, FromMonitor, ToMonitor } from "./contract";

export type ConnectionState =
  | { kind: "connecting" }
  | { kind: "connected" }
  | { kind: "reconnecting" }
  | { kind: "refused"; message: string }
  | { kind: "ended" };

export interface Listener extends FromMonitor {
  state: (state: ConnectionState) => void;
}

const ANSWER_TIMEOUT_MS = 8_000;

export class Connection {
  readonly #socket: Socket<FromMonitor, ToMonitor>;

  constructor(token: string, listener: Listener) {
    this.#socket = io({ auth: { token }, forceNew: true, reconnectionDelayMax: 10_000 });
    this.#socket.on("connect", () => listener.state({ kind: "connected" }));
    this.#socket.on("disconnect", (reason) => {
      // The monitor ends a connection itself when its token has expired; the client then does not come back.
      if (reason === "io server disconnect") listener.state({ kind: "ended" });
      else if (reason !== "io client disconnect") listener.state({ kind: "reconnecting" });
    });
    this.#socket.on("connect_error", (error) => {
      // `active`: the transport failed and the client tries again. Otherwise the monitor itself said no.
      if (this.#socket.active) listener.state({ kind: "reconnecting" });
      else listener.state({ kind: "refused", message: error.message });
    });
    this.#socket.on("event", listener.event);
    this.#socket.on("snapshot", listener.snapshot);
    this.#socket.on("jobs", listener.jobs);
    this.#socket.on("job", listener.job);
    this.#socket.on("forgotten", listener.forgotten);
    listener.state({ kind: "connecting" });
  }

  get connected(): boolean {
    return this.#socket.connected;
  }

  watch(): Promise<Answer> {
    return this.#answer(this.#socket.timeout(ANSWER_TIMEOUT_MS).emitWithAck("watch"));
  }

  subscribe(jobId: string): Promise<Answer> {
    return this.#answer(this.#socket.timeout(ANSWER_TIMEOUT_MS).emitWithAck("subscribe", jobId));
  }

  unsubscribe(jobId: string): Promise<Answer> {
    return this.#answer(this.#socket.timeout(ANSWER_TIMEOUT_MS).emitWithAck("unsubscribe", jobId));
  }

  reconnect(): void {
    this.#socket.connect();
  }

  close(): void {
    this.#socket.disconnect();
  }

  async #answer(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch {
      return { ok: false, error: "The job monitor did not answer in time." };
    }
  }
}
