import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { ConnectionPolicy } from "#proxy/upstream/connection_policy.ts";
import type { CloseReason } from "#proxy/upstream/upstream_counters.ts";

/** Share of its lifetime and its requests by which a connection may end early: a fleet's do not all at once. */
const JITTER = 0.1;

/** What grows old. */
export interface Ageing {
  /** Requests that it has been given. */
  readonly requests: number;
  /** Takes no further request. */
  retire(why: CloseReason): void;
}

/** How old one connection may become, in time and in requests. */
export class ConnectionAge extends WheelItem {
  readonly #connection: Ageing;
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #bornAt: Millis;
  /** Share of its limits by which it ends before them. */
  readonly #early: number;

  constructor(connection: Ageing, ports: { clock: Clock; wheel: TimerWheel; rng: Rng }) {
    super();
    this.#connection = connection;
    this.#clock = ports.clock;
    this.#wheel = ports.wheel;
    this.#bornAt = ports.clock.now();
    this.#early = ports.rng.next() * JITTER;
  }

  /** Its time ends when `policy` says. */
  follow({ lifetimeMs }: ConnectionPolicy): void {
    this.#wheel.disarm(this);
    if (lifetimeMs === Number.POSITIVE_INFINITY) return;
    const endsAt = this.#bornAt + lifetimeMs * (1 - this.#early);
    this.#wheel.arm(this, Math.max(0, endsAt - this.#clock.now()));
  }

  /** It has been given another request. */
  count({ requestsMax }: ConnectionPolicy): void {
    const early = Math.floor(requestsMax * this.#early);
    if (this.#connection.requests >= requestsMax - early) this.#connection.retire("requests");
  }

  /** It is closed. */
  end(): void {
    this.#wheel.disarm(this);
  }

  override onTimeout(): void {
    this.#connection.retire("lifetime");
  }
}

/** So far from the limit that the age of a connection need not be looked up. */
export function isYoung({ requests }: Ageing, { requestsMax }: ConnectionPolicy): boolean {
  return requests < requestsMax * (1 - JITTER);
}
