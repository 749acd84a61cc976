import type { Millis } from "#kernel/brand.ts";

/** Requests that must have begun since the last answer: one may be slow by chance, so many are not. */
const BEGUN = 4;
/** The last of them must have waited for that many usual response times … */
const TIMES = 3;
/** … and this long, for what pauses goes on; where no answer has come yet, for much longer. */
const LEAST_MS: Millis = 100;
const UNKNOWN_MS: Millis = 1_000;
/** How long it is left alone then, before it is tried with as many again; twice as long each time. */
const AGAIN_MS: Millis = 1_000;
const AGAIN_MAX_MS: Millis = 8_000;

/**
 * Whether a place swallows requests. Failures say so only when their time is over; that nothing at all comes back from
 * where answers came every few ms says it within some of their times, before a deadline or a probe of the link can.
 */
export class Stall {
  #begun = 0;
  /** When the last one began that is counted. */
  #since: Millis = 0;
  #answered = false;
  #againMs = AGAIN_MS;

  /** A request begins. @param usualMs the place's usual response time. */
  began(usualMs: Millis, now: Millis): void {
    if (this.#begun < BEGUN) {
      if (++this.#begun === BEGUN) this.#since = now;
    } else if (now - this.#since >= this.#waitMs(usualMs) + this.#againMs) {
      this.#begun = 1;
      this.#againMs = Math.min(AGAIN_MAX_MS, 2 * this.#againMs);
    }
  }

  /** One has ended, and not because its time was over: something is there. */
  answered(): void {
    this.#begun = 0;
    this.#answered = true;
    this.#againMs = AGAIN_MS;
  }

  isStalled(usualMs: Millis, now: Millis): boolean {
    if (this.#begun < BEGUN) return false;
    const beyond = now - this.#since - this.#waitMs(usualMs);
    return beyond >= 0 && beyond < this.#againMs;
  }

  #waitMs(usualMs: Millis): Millis {
    return Math.max(this.#answered ? LEAST_MS : UNKNOWN_MS, TIMES * usualMs);
  }
}
