import type { CopyRules } from "#discovery/sync/copied_state.ts";
import { Follower, type FollowerStep } from "#discovery/sync/follower.ts";
import type { LeaseState } from "#discovery/sync/lease.ts";
import { decode, type Need } from "#discovery/sync/messages.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";

/** A `need` at most this often, plus jitter up to as much again. */
const NEED_EVERY_MS: Millis = 500;

export interface FollowerLinkOptions<T> extends CopyRules<T> {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly sendNeed: (need: Need) => void;
  /** The entries or their age have changed. */
  readonly onChange: () => void;
}

/** Feeds a follower with messages, asks for what it needs, and watches the lease. */
export class FollowerLink<T> {
  readonly #options: FollowerLinkOptions<T>;
  readonly follower: Follower<T>;
  readonly #watch: Timer;
  #lease: LeaseState = "expired";
  #need: Timer | undefined = undefined;
  /** Messages that could not be read. */
  malformed = 0;

  constructor(options: FollowerLinkOptions<T>) {
    this.#options = options;
    this.follower = new Follower(options);
    this.#watch = options.clock.every(500, () => this.#look());
  }

  get lease(): LeaseState {
    return this.follower.lease(this.#options.clock.now());
  }

  /** @param kind last token of the subject. */
  receive(kind: string, data: Uint8Array): void {
    const step = this.#apply(kind, data);
    if (step === undefined) {
      this.malformed++;
      return;
    }
    if (step.need !== undefined) this.#ask(step.need);
    if (step.changed || this.#lease !== this.lease) this.#changed();
  }

  close(): void {
    this.#watch.cancel();
    this.#need?.cancel();
  }

  #apply(kind: string, data: Uint8Array): FollowerStep | undefined {
    const now = this.#options.clock.now();
    if (kind === "delta") return whenRead(decode(kind, data), (m) => this.follower.onDelta(m, now));
    if (kind === "hb") {
      return whenRead(decode(kind, data), (m) => this.follower.onHeartbeat(m, now));
    }
    if (kind === "snap") {
      return whenRead(decode(kind, data), (m) => this.follower.onSnapshot(m, now));
    }
    if (kind === "bye") return whenRead(decode(kind, data), (m) => this.follower.onBye(m.e));
    return undefined;
  }

  /** The first time at once; while the answer is out, again after a while. */
  #ask(why: Need["why"]): void {
    if (this.#need !== undefined) return;
    const { clock, rng, sendNeed } = this.#options;
    sendNeed({ why, ...this.follower.position });
    this.#need = clock.after(NEED_EVERY_MS * (1 + rng.next()), () => {
      this.#need = undefined;
    });
  }

  #look(): void {
    if (this.#lease !== this.lease) this.#changed();
  }

  #changed(): void {
    this.#lease = this.lease;
    this.#options.onChange();
  }
}

function whenRead<M>(
  message: M | undefined,
  apply: (message: M) => FollowerStep,
): FollowerStep | undefined {
  return message === undefined ? undefined : apply(message);
}
