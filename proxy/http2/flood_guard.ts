import type { Millis } from "#kernel/brand.ts";

/** What a peer can do that costs us something and brings nothing by itself. Names of metrics. */
export const FLOODS = [
  "ping",
  "settings",
  "priority",
  "reset",
  "late_reset",
  "stream_error",
  "empty_data",
  "empty_block",
  "window_update",
  "unknown_frame",
] as const;

/** One of them. */
export type Flood = (typeof FLOODS)[number];

/** Those that have cost us a request: only requests that come to an end pay for them. */
const DEAR: ReadonlySet<Flood> = new Set(["reset", "stream_error"]);

/** What may come at once. */
const BURST = 1_000;
/** What may come for ever, per second. */
const PER_SECOND = 33;
/** For a finished exchange: who gives up two of three is no flood yet. */
const PER_EXCHANGE = 2;

/** What is left of one budget. */
class Budget {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #lookedAt: Millis;

  constructor(now: Millis, trust: number) {
    this.#burst = BURST * trust;
    this.#perSecond = PER_SECOND * trust;
    this.#left = this.#burst;
    this.#lookedAt = now;
  }

  earn(amount: number): void {
    this.#left = Math.min(this.#burst, this.#left + amount);
  }

  spend(): boolean {
    return --this.#left >= 0;
  }

  /** Time has passed. Whole ones only; what is left of a second counts the next time. */
  refill(now: Millis): void {
    const more = Math.floor(((now - this.#lookedAt) / 1_000) * this.#perSecond);
    if (more <= 0) return;
    this.#lookedAt = now;
    this.#left = Math.min(this.#burst, Math.max(0, this.#left) + more);
  }
}

/**
 * Bounds what a peer may have done for nothing: each such frame takes one of a budget, which time refills
 * slowly and useful work quickly. Streams that end badly have a budget of their own, which only finished exchanges
 * refill: so who cancels half of what it asks is never in the way, and who only cancels is (CVE-2023-44487,
 * CVE-2025-8671). The other frames are cheap, and belong to any body that flows: window updates, pings that measure.
 */
export class FloodGuard {
  readonly #dear: Budget;
  readonly #cheap: Budget;
  #flowSeen = 0;

  /** @param trust how many times as much as of anybody is borne of this peer. */
  constructor(now: Millis, trust: number) {
    this.#dear = new Budget(now, trust);
    this.#cheap = new Budget(now, trust);
  }

  /** An exchange has come to its end. */
  earn(): void {
    this.#dear.earn(PER_EXCHANGE);
    this.#cheap.earn(PER_EXCHANGE);
  }

  /**
   * False: it was too much. @param now reads the clock, which is only asked when a budget is used up.
   * @param flow what bodies have earned since the connection began.
   */
  spend(kind: Flood, now: () => Millis, flow: number): boolean {
    const isDear = DEAR.has(kind);
    const budget = isDear ? this.#dear : this.#cheap;
    if (budget.spend()) return true;
    budget.refill(now());
    if (!isDear) {
      budget.earn(Math.max(0, flow - this.#flowSeen));
      this.#flowSeen = flow;
    }
    return budget.spend();
  }
}
