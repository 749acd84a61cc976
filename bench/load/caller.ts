import { connect, type Socket } from "node:net";

/** A request on its way. */
export interface Call {
  readonly dueMs: number;
  readonly priority: string;
}

/** Told how calls end; `status` 0: the connection ended before the answer was whole. */
export interface CallerEvents {
  onEnd(caller: Caller, call: Call, status: number, by: string): void;
  /** Its connection is no more. */
  onGone(caller: Caller): void;
}

const HEAD_END = "\r\n\r\n";
const LAST_CHUNK = "\r\n0\r\n\r\n";

/** A client's keep-alive connection over HTTP/1.1: one call at a time, answers of a few kB. */
export class Caller {
  readonly #socket: Socket;
  readonly #events: CallerEvents;
  /** What runs; undefined: it is idle. */
  call: Call | undefined = undefined;
  /** The answer so far, a byte a character. */
  #text = "";
  #isGone = false;

  constructor(port: number, events: CallerEvents) {
    this.#events = events;
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text: string) => this.#onText(text));
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.#onClose());
  }

  send(call: Call, request: string): void {
    this.call = call;
    this.#socket.write(request, "latin1");
  }

  /** Gives up what runs: its end is not told. */
  close(): void {
    this.#isGone = true;
    this.call = undefined;
    this.#socket.destroy();
  }

  #onText(text: string): void {
    this.#text = this.#text === "" ? text : this.#text + text;
    const headEnd = this.#text.indexOf(HEAD_END);
    if (headEnd < 0 || this.call === undefined) return;
    const head = this.#text.slice(0, headEnd + 2).toLowerCase();
    const length = fieldOf(head, "content-length");
    const isWhole =
      length === undefined
        ? this.#text.endsWith(LAST_CHUNK)
        : this.#text.length >= headEnd + HEAD_END.length + Number(length);
    if (!isWhole) return;
    const { call } = this;
    this.call = undefined;
    this.#text = "";
    if (fieldOf(head, "connection") === "close") {
      this.#isGone = true;
      this.#socket.end();
      this.#events.onGone(this);
    }
    this.#events.onEnd(this, call, Number(head.slice(9, 12)), fieldOf(head, "x-served-by") ?? "");
  }

  #onClose(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#events.onGone(this);
    const { call } = this;
    this.call = undefined;
    if (call !== undefined) this.#events.onEnd(this, call, 0, "");
  }

  get isGone(): boolean {
    return this.#isGone;
  }
}

function fieldOf(head: string, name: string): string | undefined {
  const at = head.indexOf(`\r\n${name}:`);
  if (at < 0) return undefined;
  const from = at + name.length + 3;
  return head.slice(from, head.indexOf("\r\n", from)).trim();
}
