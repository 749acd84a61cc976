import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** How a connection is cut: as a process that dies does it, as one that ends, or as a lost link, which says nothing. */
export const CUTS = ["reset", "end", "silence"] as const;

/** One of them. */
export type Cut = (typeof CUTS)[number];

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

/** How long a silent one is open before it is reset, ms. */
const SILENCE_MS = 3_000;

/** Bytes on their way to a port, with the pressure of a slow reader passed back; its connections can be cut. */
export class CuttingRelay {
  /** Port on 127.0.0.1 that it passes connections on to. */
  target = 0;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();

  constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const to = { port: this.target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
      const pair = { near, far: connect(to) };
      this.#pairs.add(pair);
      this.#pass(near, pair.far, pair);
      this.#pass(pair.far, near, pair);
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

  get open(): number {
    return this.#pairs.size;
  }

  /** Cuts the nth of its connections, counted round and round. Returns how many that were: one or none. */
  cut(nth: number, how: Cut): number {
    const pair = [...this.#pairs][nth % Math.max(1, this.#pairs.size)];
    if (pair === undefined) return 0;
    const { near, far } = pair;
    if (how === "silence") {
      near.pause();
      far.pause();
      setTimeout(() => this.#reset(pair), SILENCE_MS);
    } else if (how === "end") {
      near.end();
      far.end();
      // Who does not end in return is not waited for.
      setTimeout(() => this.#reset(pair), SILENCE_MS);
    } else this.#reset(pair);
    return 1;
  }

  close(): void {
    this.#server.close();
    for (const pair of this.#pairs) this.#reset(pair);
  }

  #reset(pair: Pair): void {
    this.#pairs.delete(pair);
    for (const socket of [pair.near, pair.far]) {
      // Node does not close what is reset while its end is still to be sent.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  #pass(from: Socket, to: Socket, pair: Pair): void {
    from.on("data", (chunk: Buffer) => {
      if (to.writable && !to.write(chunk)) from.pause();
    });
    to.on("drain", () => from.resume());
    from.on("end", () => to.end());
    from.on("error", () => this.#reset(pair));
    from.on("close", () => {
      if (to.closed || to.destroyed) this.#pairs.delete(pair);
    });
  }
}
