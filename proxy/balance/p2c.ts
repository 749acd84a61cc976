import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import { AliasTable } from "#proxy/balance/alias_table.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { firstAllowed, isAllowed, type PickAsk } from "#proxy/balance/reach.ts";
import { ShareReview } from "#proxy/balance/shares.ts";

/** Draws before an endpoint is looked for one by one. */
const DRAWS_MAX = 8;
/** Drawn twice, an endpoint gives way only to one that is better by this factor. */
const CLEARLY = 2;
/** A response time that many times the usual one is no chance. */
const BEYOND_CHANCE = 4;

/**
 * Power of two choices (M. Mitzenmacher, 2001): draws two at random and takes the one with the smaller load. `latency`:
 * peak-EWMA × (inflight + 1), the expected wait; else inflight alone.
 *
 * Where weights, slow start or load reports give unequal shares, endpoints are *drawn* by them, and requests running
 * are counted per share. Two that are alike are drawn anew each time and may be the same one: else, of a heavy and a
 * light one, chance would give each a half.
 */
export class P2cPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];
  readonly #byLatency: boolean;
  /** Undefined: everybody has all of the weight at all times. */
  readonly #shares: ShareReview | undefined;
  /** Undefined: all weights are equal. */
  readonly #table: AliasTable | undefined;
  readonly #meanWeight: number;

  constructor(
    endpoints: readonly EndpointState[],
    about: { readonly byLatency: boolean; readonly slowStartMs: Millis },
  ) {
    const { byLatency, slowStartMs } = about;
    this.#endpoints = endpoints;
    this.#byLatency = byLatency;
    // A measured wait says more than a report.
    const reports = !byLatency;
    if (reports || slowStartMs > 0) {
      this.#shares = new ShareReview(endpoints, { slowStartMs, reports });
    }
    const weights = endpoints.map(({ endpoint }) => endpoint.weight);
    const isEven = weights.every((weight) => weight === weights[0]);
    this.#table = isEven ? undefined : new AliasTable(weights);
    this.#meanWeight = weights.reduce((a, b) => a + b, 0) / weights.length;
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    const endpoints = this.#endpoints;
    if (endpoints.length < 2) return endpoints[firstAllowed(endpoints, ask, now, 0)];
    this.#shares?.bringUpToDate(now);
    const isUneven = this.#table !== undefined || this.#shares?.isUneven === true;
    const a = this.#draw(ask, isUneven, now, rng);
    if (a < 0) return undefined;
    let b = isUneven ? this.#draw(ask, true, now, rng) : a;
    let factor = 1;
    if (b === a) {
      b = this.#other(a, ask, now, rng);
      if (isUneven) factor = CLEARLY;
    }
    if (b === a) return endpoints[a];
    const first = endpoints[a]!;
    const second = endpoints[b]!;
    return this.#load(second, isUneven, now) * factor < this.#load(first, isUneven, now)
      ? second
      : first;
  }

  /** Index of an allowed endpoint, by its share; -1: there is none. */
  #draw(ask: PickAsk, isUneven: boolean, now: Millis, rng: Rng): number {
    const endpoints = this.#endpoints;
    const shares = isUneven && this.#shares?.isUneven === true ? this.#shares : undefined;
    let at = 0;
    for (let draws = 0; draws < DRAWS_MAX; draws++) {
      at = this.#table === undefined ? rng.below(endpoints.length) : this.#table.draw(rng);
      const endpoint = endpoints[at]!;
      if (!isAllowed(endpoint, ask, now)) continue;
      if (shares === undefined) return at;
      const share = shares.of(endpoint, now);
      if (share >= shares.most || rng.next() * shares.most < share) return at;
    }
    return firstAllowed(endpoints, ask, now, at);
  }

  /** Another one, each as likely; `a` itself if there is none. */
  #other(a: number, ask: PickAsk, now: Millis, rng: Rng): number {
    const endpoints = this.#endpoints;
    for (let draws = 0; draws < DRAWS_MAX; draws++) {
      let at = rng.below(endpoints.length - 1);
      // `>=`, not `===`: or the one after `a` would be drawn twice as often.
      if (at >= a) at += 1;
      if (isAllowed(endpoints[at]!, ask, now)) return at;
    }
    return firstAllowed(endpoints, ask, now, a + 1 === endpoints.length ? 0 : a + 1);
  }

  #load(endpoint: EndpointState, isUneven: boolean, now: Millis): number {
    // Failures that come fast keep nobody busy: each of the last ones counts as a request that runs.
    const running = endpoint.inflight + (this.#byLatency ? 0 : endpoint.doubts);
    const part = isUneven
      ? (endpoint.endpoint.weight * (this.#shares?.of(endpoint, now) ?? 1)) / this.#meanWeight
      : 1;
    const queue = running / part + 1;
    return this.#byLatency ? timeOf(endpoint, now) * queue : queue;
  }
}

/**
 * Response time to expect. The usual one, for a peak of a spread that all share is chance; but a peak beyond what
 * chance explains counts, and a failure that nothing has followed as the time that it is held for.
 */
function timeOf(endpoint: EndpointState, now: Millis): Millis {
  const { doubtMs, ewma, typical, locale } = endpoint;
  // One that nobody knows (yet, or any more) may be quick, but hardly so much quicker.
  const least = Math.max(doubtMs, locale.usualMs / 2);
  return Math.max(least, typical.read(now), ewma.read(now) / BEYOND_CHANCE);
}
