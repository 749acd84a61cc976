import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Clock } from "#kernel/clock.ts";

/**
 * The long way to a gateway: relays bytes to it, later by `delayMs`, or swallows them. Stands for a
 * link between clusters, which a machine by itself does not have.
 */
export class LinkRelay {
  delayMs: number;
  /** Port on 127.0.0.1 of the gateway behind it. */
  target = 0;
  /** True: connections stay open and nothing passes, in either direction. */
  blackHole = false;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(delayMs: number, clock: Clock) {
    this.delayMs = delayMs;
    this.#clock = clock;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#relay(socket));
  }

  /** The port where others reach the gateway. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", () => {
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #relay(near: Socket): void {
    const far = connect({ port: this.target, host: "127.0.0.1", noDelay: true });
    near.setNoDelay(true);
    this.#pass(near, far);
    this.#pass(far, near);
  }

  #pass(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    const later = (act: () => void): void => {
      this.#clock.after(this.delayMs, () => {
        if (!this.blackHole && !to.destroyed) act();
      });
    };
    from.on("data", (chunk: Buffer) => later(() => to.write(chunk)));
    from.on("end", () => later(() => to.end()));
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      if (!this.blackHole) to.destroy();
    });
  }
}
