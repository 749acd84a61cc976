import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { ListenerCounters } from "#proxy/listen/listener_counters.ts";

/** A client's connection, as an operator sees it. */
export interface ClientInfo {
  readonly listener: string;
  readonly client: string;
  /** What it is at: `idle`, `head`, `body`, `answer`, `tunnel`, `over`. */
  readonly state: string;
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** What came over the connections of one port, closed ones and open ones. */
export interface ListenerTraffic {
  requests: number;
  bytesIn: number;
  bytesOut: number;
}

/** A client's connection, whatever it speaks. */
export interface ClientConnection {
  /** Undefined: it has not begun yet. */
  info(): ClientInfo | undefined;
  /** Takes no further request. */
  drain(): void;
  /** The time to drain is over: cuts what still runs, which ends with `draining`. */
  destroy(): void;
}

/** The connections of one port: those that have begun, and those of which it is not known yet what they are. */
export class ClientSet {
  readonly #counters: ListenerCounters;
  readonly #isTls: boolean;
  readonly #all = new Set<ClientConnection>();
  /** Of connections that are closed. */
  readonly #closed: ListenerTraffic = { requests: 0, bytesIn: 0, bytesOut: 0 };
  #draining = false;
  #onEmpty: (() => void) | undefined = undefined;

  /** @param isTls below each connection lies one that is held by itself. */
  constructor(counters: ListenerCounters, isTls: boolean) {
    this.#counters = counters;
    this.#isTls = isTls;
  }

  /** How many clients there are. */
  get size(): number {
    return this.#all.size - (this.#isTls ? this.#counters.open : 0);
  }

  /** A connection has begun. */
  begun(connection: ClientConnection): void {
    this.#counters.accepted++;
    this.#counters.open++;
    this.#all.add(connection);
    if (this.#draining) connection.drain();
  }

  /** One that had begun goes on in another protocol. */
  became(connection: ClientConnection, next: ClientConnection): void {
    this.#all.delete(connection);
    this.#all.add(next);
    if (this.#draining) next.drain();
  }

  /** One that had begun has ended. */
  ended(connection: ClientConnection): void {
    if (!this.#all.has(connection)) return;
    this.#counters.open--;
    const info = connection.info();
    if (info !== undefined) add(this.#closed, info);
    this.release(connection);
  }

  /** Counts somebody of whom nothing is known yet, and lets a drain wait for him. */
  hold(coming: ClientConnection): void {
    this.#all.add(coming);
  }

  /** Goes with `hold`. */
  release(coming: ClientConnection): void {
    this.#all.delete(coming);
    if (this.#all.size === 0) this.#onEmpty?.();
  }

  /** What lies under TLS: a drain waits for a handshake too, which is bounded by its own time limit. */
  holdWhileOpen(socket: Socket): void {
    const held: ClientConnection = {
      info: () => undefined,
      drain: () => {},
      destroy: () => socket.destroy(),
    };
    this.hold(held);
    socket.once("close", () => this.release(held));
  }

  traffic(): ListenerTraffic {
    const all = { ...this.#closed };
    for (const client of this.infos()) add(all, client);
    return all;
  }

  *infos(): Iterable<ClientInfo> {
    for (const connection of this.#all) {
      const info = connection.info();
      if (info !== undefined) yield info;
    }
  }

  /** Lets running requests end for at most `maxMs`, then closes. */
  drain(clock: Clock, maxMs: Millis): Promise<void> {
    this.#draining = true;
    for (const connection of [...this.#all]) connection.drain();
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = clock.after(maxMs, () => {
        for (const connection of [...this.#all]) connection.destroy();
      });
      this.#onEmpty = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

function add(sum: ListenerTraffic, { requests, bytesIn, bytesOut }: ListenerTraffic): void {
  sum.requests += requests;
  sum.bytesIn += bytesIn;
  sum.bytesOut += bytesOut;
}
