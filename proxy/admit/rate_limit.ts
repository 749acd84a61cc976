import type { Millis } from "#kernel/brand.ts";
import type { RateLimit } from "#model/traffic_policy.ts";

/** Part of a mesh-wide rate that a cluster has which nothing has been leased to yet. */
const UNLEASED_SHARE = 1 / 64;
/** Clients that one limit knows at a time; who falls out is forgotten, and starts with a whole burst. */
export const KEYS_MAX = 10_000;
/** How long a client that may have nothing at all is told to wait. */
const NOTHING_LEASED_MS: Millis = 10_000;

/**
 * One rate limit in one worker: the generic cell rate algorithm (ITU-T I.371), counted in tokens rather than
 * in time, so that the rate may change under it: in any span pass no more requests than the burst and the
 * tokens that the span brought, whatever the rate was. A burst that grows has to be saved up first, or leases
 * that go from cluster to cluster would bring new ones. One number per client, of the 10,000 seen last.
 */
export class RateBucket {
  #rules: RateLimit;
  /** Tokens per second, and saved at most, of this worker. */
  #rate = 0;
  #burst = 0;
  /** Tokens that time has brought so far. */
  #brought = 0;
  #at: Millis;
  /**
   * Per client, what `brought` must have come to, less `shift`, for all its tokens to be back. Two halves, the
   * older is dropped.
   */
  #young = new Map<number, number>();
  #old = new Map<number, number>();
  /** The same of all clients together. */
  #all = 0;
  /** By how much the burst has grown or shrunk since: tokens that it may save are not there yet. */
  #shift = 0;
  /** What `brought` must have come to for the tokens of one who has used none. */
  #floor = 0;
  /** Requests that it has refused. */
  refused = 0;

  /** @param workers processes that share what the cluster may. */
  constructor(rules: RateLimit, workers: number, now: Millis) {
    this.#rules = rules;
    this.#at = now;
    this.follow(rules, workers, now);
    this.#forget();
  }

  get rules(): RateLimit {
    return this.#rules;
  }

  /** Tokens per second of this worker. */
  get rate(): number {
    return this.#rate;
  }

  /** Other rules from now on; what has been used of the burst stays used. */
  follow(rules: RateLimit, workers: number, now: Millis): void {
    this.#bring(now);
    const others = !sameClients(rules, this.#rules);
    this.#rules = rules;
    const { scope, rate, leased = rate * UNLEASED_SHARE, burst } = rules;
    const mine = scope === "Mesh" ? Math.min(leased, rate) : rate;
    this.#rate = mine / workers;
    // A part of the rate goes with the same part of the burst. Less than one would let nothing pass at all.
    const before = this.#burst;
    this.#burst = mine === 0 ? 0 : Math.max(1, (burst * this.#rate) / rate);
    this.#shift += this.#burst - before;
    this.#floor = Math.max(this.#floor, this.#brought) + this.#burst - before;
    if (others) this.#forget();
  }

  /**
   * 0: a request may pass. Otherwise how long until one may, ms. Nothing is used up.
   * @param key tells the client from others; undefined: the limit is for all together.
   */
  waitOf(key: number | undefined, now: Millis): Millis {
    this.#bring(now);
    const used = this.#usedUntil(key) - this.#brought;
    const missing = Math.max(0, used) - (this.#burst - 1);
    // A billionth: sums of fractions are not exact.
    if (missing <= 1e-9) return 0;
    if (this.#rate === 0) return NOTHING_LEASED_MS;
    return (missing / this.#rate) * 1_000;
  }

  /** A request passes, as `waitOf` has allowed it at the same moment. */
  take(key: number | undefined): void {
    const next = Math.max(this.#brought, this.#usedUntil(key)) + 1 - this.#shift;
    if (key === undefined) {
      this.#all = next;
      return;
    }
    if (!this.#young.has(key) && this.#young.size >= KEYS_MAX / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, next);
  }

  #usedUntil(key: number | undefined): number {
    const known = key === undefined ? this.#all : (this.#young.get(key) ?? this.#old.get(key));
    return known === undefined ? this.#floor : Math.max(known + this.#shift, this.#floor);
  }

  #bring(now: Millis): void {
    this.#brought += (Math.max(0, now - this.#at) * this.#rate) / 1_000;
    this.#at = now;
  }

  #forget(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#all = 0;
    this.#shift = 0;
    this.#floor = 0;
  }
}

function sameClients({ by: a }: RateLimit, { by: b }: RateLimit): boolean {
  if (a === undefined || b === undefined) return a === b;
  const [nameA, nameB] = ["name" in a ? a.name : "", "name" in b ? b.name : ""];
  return a.type === b.type && nameA === nameB;
}
