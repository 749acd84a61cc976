import type { Millis } from "#kernel/brand.ts";

/** What a peer can do that costs us something and brings nothing by itself. Names of metrics. */
export const FLOODS = [
  "ping",
  "settings",
  "priority",
  "reset",
  "stream_error",
  "empty_data",
  "empty_block",
  "window_update",
  "unknown_frame",
] as const;

/** One of them. */
export type Flood = (typeof FLOODS)[number];

/** What may come at once. */
const BURST = 1_000;
/** What may come for ever, per second. */
const PER_SECOND = 33;

/**
 * Bounds what a peer may have done for nothing: each such frame takes one of a budget, which time refills
 * slowly and useful work, a finished exchange or a body, quickly. So who cancels half of what it asks is never
 * in the way, and who only cancels is (CVE-2023-44487, CVE-2025-8671).
 */
export class FloodGuard {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #lookedAt: Millis;

  /** @param trust how many times as much as of anybody is borne of this peer. */
  constructor(now: Millis, trust: number) {
    this.#burst = BURST * trust;
    this.#perSecond = PER_SECOND * trust;
    this.#left = this.#burst;
    this.#lookedAt = now;
  }

  /** Something useful was done. */
  earn(): void {
    if (this.#left < this.#burst) this.#left++;
  }

  /** False: it was too much. @param now reads the clock, which is only asked when the budget is used up. */
  spend(now: () => Millis): boolean {
    if (--this.#left >= 0) return true;
    const at = now();
    this.#left = Math.min(
      this.#burst,
      Math.floor(((at - this.#lookedAt) / 1_000) * this.#perSecond),
    );
    this.#lookedAt = at;
    return --this.#left >= 0;
  }
}
