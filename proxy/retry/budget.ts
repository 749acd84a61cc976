import type { Millis } from "#kernel/brand.ts";

/** Retries per request, on average. */
const SHARE = 0.2;
/** Retries per second on top, so that little traffic can be retried too. */
const PER_SECOND = 10;
/** Unused retries that can be saved up: ten seconds' worth. */
const SAVED_MAX = 100;

/**
 * Keeps retries a bounded share of traffic, so that they cannot make an overload worse
 * (as finagle's RetryBudget: a bucket fed by requests and by time).
 */
export class RetryBudget {
  #tokens = PER_SECOND;
  #at: Millis;

  constructor(now: Millis) {
    this.#at = now;
  }

  /** A request has begun. */
  deposit(now: Millis): void {
    this.#tokens = Math.min(
      SAVED_MAX,
      this.#tokens + SHARE + ((now - this.#at) / 1000) * PER_SECOND,
    );
    this.#at = now;
  }

  /** Takes one retry; false if there is none left. */
  tryWithdraw(now: Millis): boolean {
    this.#tokens = Math.min(SAVED_MAX, this.#tokens + ((now - this.#at) / 1000) * PER_SECOND);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
