import type { Millis } from "#kernel/brand.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";

/** How often shares are looked at. */
const PERIOD_MS: Millis = 1_000;
/** Part of its share that an endpoint has at once when it comes or comes back (Envoy: min_weight_percent 10). */
const COLD_SHARE = 0.1;
/** More than that much of its weight no load report gives to an endpoint, or a liar would draw all traffic. */
const SHARE_MAX = 2;
/** Less than that none leaves to it: without requests it could not report that it is better. */
const SHARE_MIN = 0.05;
/** By how much a reported share may grow in a second; it shrinks at once. */
const GROWTH_PER_S = 0.1;

/** Part of its weight that an endpoint has which takes requests since `warmMs` (Envoy's slow start, aggression 1). */
function warmth(warmMs: Millis, windowMs: Millis): number {
  // Not back yet: who asks for it now asks for everybody alike.
  if (warmMs < 0 || warmMs >= windowMs) return 1;
  return Math.max(COLD_SHARE, warmMs / windowMs);
}

/**
 * What slow start and load reports leave of endpoints' weights, or add to them. Keeps what reports give up to date, and
 * knows whether any endpoint has more or less than its weight.
 */
export class ShareReview {
  readonly #endpoints: readonly EndpointState[];
  readonly #slowStartMs: Millis;
  readonly #reports: boolean;
  #at: Millis = Number.NEGATIVE_INFINITY;
  #isUneven = false;
  #most = 1;

  /** @param about reports: whether load reports count. */
  constructor(
    endpoints: readonly EndpointState[],
    about: { readonly slowStartMs: Millis; readonly reports: boolean },
  ) {
    this.#endpoints = endpoints;
    this.#slowStartMs = about.slowStartMs;
    this.#reports = about.reports;
  }

  /** Some endpoint has more or less than its weight now. */
  get isUneven(): boolean {
    return this.#isUneven;
  }

  /** The largest share of any endpoint, as it was when they were looked at. */
  get most(): number {
    return this.#most;
  }

  /** Part of its weight that `endpoint` has now, 0.005 to 2; 1: all of it. */
  of({ reported, warmFrom }: EndpointState, now: Millis): number {
    const share = this.#reports && reported !== undefined ? reported.share : 1;
    return this.#slowStartMs === 0 ? share : share * warmth(now - warmFrom, this.#slowStartMs);
  }

  /** Looks again if it is time to. Cheap otherwise. */
  bringUpToDate(now: Millis): void {
    const elapsedMs = now - this.#at;
    if (elapsedMs < PERIOD_MS) return;
    this.#at = now;
    if (this.#reports) reviewReports(this.#endpoints, Math.min(elapsedMs, PERIOD_MS), now);
    if (!this.#reports && this.#slowStartMs === 0) return;
    this.#isUneven = false;
    this.#most = 0;
    for (const endpoint of this.#endpoints) {
      const share = this.of(endpoint, now);
      // One that is ejected may be back before anybody looks again.
      if (share !== 1 || now < endpoint.warmFrom) this.#isUneven = true;
      if (share > this.#most) this.#most = share;
    }
  }
}

/**
 * Moves every reported share towards the endpoint's weight (gRFC A58) over the lower median of all: of the mean, which
 * the RFC takes, one liar could make whatever it likes.
 */
function reviewReports(endpoints: readonly EndpointState[], elapsedMs: Millis, now: Millis): void {
  const weights: number[] = [];
  for (const { reported, endpoint } of endpoints) {
    const weight = reported?.weight(now);
    if (weight !== undefined) weights.push(weight / endpoint.weight);
  }
  const median = weights.sort((a, b) => a - b)[(weights.length - 1) >> 1];
  for (const { reported, endpoint } of endpoints) {
    if (reported === undefined) continue;
    const weight = reported.weight(now);
    // Nothing is known of it any more: one of many.
    const wanted =
      weight === undefined || median === undefined ? 1 : weight / endpoint.weight / median;
    const most = reported.share + (GROWTH_PER_S * elapsedMs) / 1_000;
    reported.share = Math.min(most, SHARE_MAX, Math.max(SHARE_MIN, wanted));
  }
}
