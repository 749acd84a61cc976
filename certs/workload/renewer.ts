import { backoffMs } from "#kernel/backoff.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { err, type Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";

/** Something with an end that is replaced in time: a leaf, a CA. */
export interface Renewable {
  readonly notBefore: Millis;
  readonly notAfter: Millis;
}

export interface RenewerOptions {
  /** What is renewed, for the log. */
  readonly what: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
  readonly current: () => Renewable;
  /** When to begin, epoch ms; see `profiles.ts`. */
  readonly renewAt: (notBefore: Millis, notAfter: Millis, chance: number) => Millis;
  /** Gets the next one and puts it in force. The old one stays in force if it fails. */
  readonly renew: () => Promise<Result<unknown, string>>;
}

const RETRY = { baseMs: 1_000, maxMs: 60_000 };
/** Timers of Node reach 24.8 days; a CA lives longer. */
const LOOK_MS: Millis = 3_600_000;

/** Renews before the end, with a new key each time, and tries on while it fails. */
export class Renewer {
  readonly #options: RenewerOptions;
  #timer: Timer | undefined = undefined;
  #failures = 0;
  #dueAt: Millis = 0;
  #closed = false;

  constructor(options: RenewerOptions) {
    this.#options = options;
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #plan(): void {
    const { current, renewAt, rng } = this.#options;
    const { notBefore, notAfter } = current();
    this.#dueAt = renewAt(notBefore, notAfter, rng.next());
    this.#wait();
  }

  #wait(): void {
    const { clock } = this.#options;
    const left = this.#dueAt - clock.wall();
    this.#timer = clock.after(Math.min(LOOK_MS, Math.max(0, left)), () => {
      if (clock.wall() < this.#dueAt) this.#wait();
      else void this.#renew();
    });
  }

  async #renew(): Promise<void> {
    const { renew, log, clock, rng, what, current } = this.#options;
    const renewed = await renew().catch((error: Error) => err(error.message));
    if (this.#closed) return;
    if (renewed.ok) {
      this.#failures = 0;
      this.#plan();
      return;
    }
    const delayMs = backoffMs(RETRY, this.#failures++, rng);
    const leftMs = Math.round(current().notAfter - clock.wall());
    log.warn(`${what} not renewed`, { error: renewed.error, leftMs });
    this.#timer = clock.after(delayMs, () => void this.#renew());
  }
}
