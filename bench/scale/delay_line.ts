import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

const TICK_MS = 1;
/** What routers on the way hold beside what is on its way. */
const QUEUE_BYTES = 4_194_304;

interface Piece {
  readonly dueAt: number;
  readonly bytes: Buffer | "end";
}

/** A long way to a port: each byte takes `delayMs`, and no more than so many pass in a second. Each direction by itself. */
export class DelayLine {
  readonly #delayMs: number;
  readonly #bytesPerMs: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /** @param target port on 127.0.0.1. */
  constructor(target: number, delayMs: number, bytesPerSecond: number) {
    this.#delayMs = delayMs;
    this.#bytesPerMs = bytesPerSecond / 1_000;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const far = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
      }
      this.#pass(near, far);
      this.#pass(far, near);
    });
  }

  /** Its own port. */
  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(0, "127.0.0.1", () => {
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(from: Socket, to: Socket): void {
    const most = this.#bytesPerMs * this.#delayMs + QUEUE_BYTES;
    const line: Piece[] = [];
    let held = 0;
    let freeAt = 0;
    const put = (bytes: Buffer | "end"): void => {
      const now = performance.now();
      freeAt = Math.max(now, freeAt) + bytes.length / this.#bytesPerMs;
      line.push({ dueAt: freeAt + this.#delayMs, bytes });
    };
    from.on("data", (chunk: Buffer) => {
      held += chunk.length;
      put(chunk);
      if (held > most) from.pause();
    });
    from.on("end", () => put("end"));
    const timer = setInterval(() => {
      const now = performance.now();
      while (line.length > 0 && line[0]!.dueAt <= now && !to.writableNeedDrain) {
        const { bytes } = line.shift()!;
        if (bytes === "end") to.end();
        else {
          held -= bytes.length;
          to.write(bytes);
        }
      }
      if (held <= most && from.isPaused()) from.resume();
    }, TICK_MS);
    to.on("close", () => {
      clearInterval(timer);
      from.destroy();
    });
  }
}
