import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { until } from "#test/kit/processes.ts";

/** A server of bytes: the test says what each connection gets. Also what each one said. */
export class RawOrigin {
  readonly sockets: Socket[] = [];
  /** What each connection has sent so far. */
  readonly said: string[] = [];
  readonly #server: Server;

  constructor(serve: (socket: Socket, nth: number) => void) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const nth = this.sockets.push(socket) - 1;
      this.said.push("");
      socket.on("error", () => {});
      socket.on("data", (chunk: Buffer) => {
        this.said[nth] += chunk.toString("latin1");
      });
      serve(socket, nth);
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** All that was ever said to it. */
  get heard(): string {
    return this.said.join("");
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this.port;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }
}

/** Calls `answer` with each complete head that a connection sends; bodies count as nothing. */
export function onHeads(socket: Socket, answer: (head: string, nth: number) => void): void {
  let text = "";
  let nth = 0;
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
      const head = text.slice(0, end + 4);
      text = text.slice(end + 4);
      answer(head, nth++);
    }
  });
}

/** A client of bytes. */
export class RawClient {
  readonly socket: Socket;
  said = "";
  ended = false;
  closed = false;

  constructor(port: number, first: string | Buffer = "") {
    this.socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.socket.on("data", (chunk: Buffer) => {
      this.said += chunk.toString("latin1");
    });
    this.socket.on("error", () => {});
    this.socket.on("end", () => {
      this.ended = true;
    });
    this.socket.on("close", () => {
      this.closed = true;
    });
    this.send(first);
  }

  send(bytes: string | Buffer): void {
    if (bytes.length > 0)
      this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Waits until what was said contains `text`. */
  hears(text: string | RegExp): Promise<void> {
    const has = (): boolean =>
      typeof text === "string" ? this.said.includes(text) : text.test(this.said);
    return until(`${text} in ${JSON.stringify(this.said.slice(0, 500))}`, () => has(), 10_000);
  }

  /** All that is said until the other side ends or cuts the connection; then it is closed. */
  async rest(): Promise<string> {
    await until("the connection's end", () => this.ended || this.closed, 10_000);
    this.socket.destroy();
    return this.said;
  }
}
