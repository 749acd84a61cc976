import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "#kernel/clock.ts";

/** One endpoint of a demo service: says who it is, as slowly as it is told to. */
export class Origin {
  readonly name: string;
  delayMs: number;
  /** Requests answered so far. */
  served = 0;
  readonly #clock: Clock;
  #server: Server | undefined = undefined;
  #port = 0;

  constructor(name: string, delayMs: number, clock: Clock) {
    this.name = name;
    this.delayMs = delayMs;
    this.#clock = clock;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens, after the first time on the same port again. */
  start(): Promise<void> {
    const server = createServer((_request, response) => {
      this.served++;
      this.#clock.after(this.delayMs, () => {
        response.setHeader("x-served-by", this.name);
        response.end(`${this.name}\n`);
      });
    });
    server.keepAliveTimeout = 60_000;
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", () => {
        this.#port = (server.address() as AddressInfo).port;
        resolve();
      });
    });
  }

  /** As a crash would: every connection is cut. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }
}
