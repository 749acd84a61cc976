import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { asShare, mix32 } from "#proxy/balance/hash.ts";
import { firstAllowed, isAllowed, type PickAsk } from "#proxy/balance/reach.ts";
import { ShareReview } from "#proxy/balance/shares.ts";
import { Turns } from "#proxy/balance/turns.ts";

/** Turns that those who may not be taken lose in a row, before one is looked for from a random place. */
const PASSES_MAX = 32;

/**
 * Everybody in turn, in proportion to weight × what slow start and load reports leave of it. Each worker begins
 * somewhere else and has an order of its own, so that many do not send to the same one at once.
 */
export class RoundRobinPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];
  readonly #turns: Turns;
  readonly #shares: ShareReview;

  constructor(endpoints: readonly EndpointState[], slowStartMs: Millis, seed: number) {
    this.#endpoints = endpoints;
    this.#shares = new ShareReview(endpoints, { slowStartMs, reports: true });
    const due = endpoints.map(
      ({ hash, endpoint }) => asShare(mix32(hash ^ seed)) / endpoint.weight,
    );
    this.#turns = new Turns(Float64Array.from(due));
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    const { length } = this.#endpoints;
    if (length === 0) return undefined;
    this.#shares.bringUpToDate(now);
    for (let passed = 0; passed < PASSES_MAX; passed++) {
      const next = this.#endpoints[this.#turns.next]!;
      this.#turns.pass(1 / (next.endpoint.weight * this.#shares.of(next, now)));
      if (isAllowed(next, ask, now)) return next;
    }
    return this.#endpoints[firstAllowed(this.#endpoints, ask, now, rng.below(length))];
  }
}
