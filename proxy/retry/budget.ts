import type { Millis } from "#kernel/brand.ts";

/** Retries per request, on average. */
const SHARE = 0.2;
/** Retries per second of the whole cluster on top, so that little traffic can be retried too. */
const PER_SECOND = 10;
/** Unused retries can be saved up: ten seconds' worth of what time alone gives, and never fewer than ten. */
const SAVED_S = 10;
const SAVED_LEAST = 10;

/** What the policy of a service says of its retries; what is absent is as above. */
export interface BudgetRules {
  readonly budgetShare?: number | undefined;
  /** Of the whole cluster. */
  readonly budgetPerSecond?: number | undefined;
  /** Retries and hedges that run at once in the whole cluster; absent: as many as the budget pays. */
  readonly running?: number | undefined;
}

/**
 * Keeps retries and hedges a bounded share of traffic, so that they cannot make an overload worse
 * (as finagle's RetryBudget: a bucket fed by requests and by time).
 */
export class RetryBudget {
  #share = SHARE;
  #perSecond = PER_SECOND;
  #savedMax = PER_SECOND * SAVED_S;
  #runningMax = Number.POSITIVE_INFINITY;
  #running = 0;
  #tokens: number;
  #at: Millis;

  /** @param workers processes that share the cluster's traffic, and so what is said of all of it. */
  constructor(now: Millis, rules: BudgetRules = {}, workers = 1) {
    this.#at = now;
    this.follow(rules, workers);
    this.#tokens = this.#perSecond;
  }

  /** Other rules from now on. What was saved stays, as far as it may. */
  follow(rules: BudgetRules, workers = 1): void {
    const { budgetShare = SHARE, budgetPerSecond = PER_SECOND, running } = rules;
    this.#share = budgetShare;
    this.#perSecond = budgetPerSecond / workers;
    const least = budgetShare === 0 && budgetPerSecond === 0 ? 0 : SAVED_LEAST;
    this.#savedMax = Math.max(least, this.#perSecond * SAVED_S);
    // At least one: none is said by a budget of nothing.
    this.#runningMax =
      running === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(running / workers));
  }

  /** A request has begun. */
  deposit(now: Millis): void {
    this.#earn(now, this.#share);
  }

  /** Takes one retry that begins now; false if there is none left. */
  tryWithdraw(now: Millis): boolean {
    if (!this.mayBegin) return false;
    this.#earn(now, 0);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Others have made so many retries for what we sent them: all of them together keep to the share. */
  charge(retries: number): void {
    this.#tokens = Math.max(-this.#savedMax, this.#tokens - retries);
  }

  /** No more run than may. */
  get mayBegin(): boolean {
    return this.#running < this.#runningMax;
  }

  /** A retry or a hedge begins, whoever paid for it. */
  begun(): void {
    this.#running++;
  }

  /** One of them has ended. */
  ended(): void {
    this.#running--;
  }

  #earn(now: Millis, more: number): void {
    const earned = this.#tokens + more + ((now - this.#at) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#savedMax, earned);
    this.#at = now;
  }
}
