import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointPicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { mix32 } from "#proxy/balance/hash.ts";
import type { PickAsk } from "#proxy/balance/reach.ts";

/** How often it is seen to that those in use are well. */
const PERIOD_MS: Millis = 1_000;

/**
 * Some of many endpoints, so that not every worker keeps connections to all. Each worker ranks them by rendezvous
 * hashing (D. Thaler, C. Ravishankar, 1998) of its own seed and uses the first that are well: one that comes or goes
 * changes one place in the subsets that it concerns, and over many workers every endpoint is in about equally many.
 */
export class SubsetPicker implements EndpointPicker {
  readonly #ranked: readonly EndpointState[];
  readonly #size: number;
  readonly #make: (some: readonly EndpointState[]) => EndpointPicker;
  #used: readonly EndpointState[];
  #inner: EndpointPicker;
  /** Of all: for a request that none in use may take. */
  #all: EndpointPicker | undefined = undefined;
  #nextAt: Millis = Number.NEGATIVE_INFINITY;

  /** @param size fewer than there are endpoints. */
  constructor(
    endpoints: readonly EndpointState[],
    size: number,
    seed: number,
    make: (some: readonly EndpointState[]) => EndpointPicker,
  ) {
    const rank = new Map(endpoints.map((one) => [one, mix32(one.hash ^ mix32(seed))]));
    this.#ranked = [...endpoints].sort((a, b) => rank.get(a)! - rank.get(b)!);
    this.#size = size;
    this.#make = make;
    this.#used = this.#ranked.slice(0, size);
    this.#inner = make(this.#used);
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    if (now >= this.#nextAt) this.#review(now);
    const chosen = this.#inner.pick(ask, now, rng);
    // Who is busy is no reason to connect to all.
    if (chosen !== undefined || ask.reach === "spare") return chosen;
    this.#all ??= this.#make(this.#ranked);
    return this.#all.pick(ask, now, rng);
  }

  #review(now: Millis): void {
    this.#nextAt = now + PERIOD_MS;
    const wanted: EndpointState[] = [];
    for (const endpoint of this.#ranked) {
      if (wanted.length === this.#size) break;
      if (!endpoint.isOut(now)) wanted.push(endpoint);
    }
    if (wanted.length === 0) return;
    if (wanted.length === this.#used.length && wanted.every((one, i) => one === this.#used[i])) {
      return;
    }
    this.#used = wanted;
    this.#inner = this.#make(wanted);
  }
}
