import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

const TICK_MS = 1;

interface Piece {
  readonly dueAt: number;
  readonly to: Socket;
  readonly bytes: Buffer | "end" | "reset";
}

/**
 * A long way to a port: each byte takes `delayMs`, either way. It can go dark: then nothing passes and nothing is
 * closed, as when a router on the way drops everything; what was sent meanwhile arrives when it is light
 * again, as TCP would have it.
 */
export class WanLine {
  /** Port on 127.0.0.1 where new connections end; a gateway that was started again has another one. */
  target = 0;
  #delayMs: number;
  #isDark = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** In the order in which they are due: every piece takes as long. */
  #line: Piece[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(delayMs: number) {
    this.#delayMs = delayMs;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const to = { port: this.target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
      const far = connect(to);
      this.#pass(near, far);
      this.#pass(far, near);
    });
    this.#timer = setInterval(() => this.#deliver(), TICK_MS);
  }

  /** Its own port. */
  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(0, "127.0.0.1", () => {
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  set dark(isDark: boolean) {
    this.#isDark = isDark;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    const put = (bytes: Piece["bytes"]): void => {
      this.#line.push({ dueAt: performance.now() + this.#delayMs, to, bytes });
    };
    from.on("data", put);
    from.on("end", () => put("end"));
    from.on("error", () => put("reset"));
    from.on("close", () => this.#sockets.delete(from));
  }

  #deliver(): void {
    if (this.#isDark) return;
    const now = performance.now();
    let count = 0;
    for (const { dueAt, to, bytes } of this.#line) {
      if (dueAt > now) break;
      count++;
      if (bytes === "reset") to.destroy();
      else if (bytes === "end") to.end();
      else if (to.writable) to.write(bytes);
    }
    if (count > 0) this.#line = this.#line.slice(count);
  }
}
