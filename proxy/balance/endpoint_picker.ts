import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { pickP2c, type Reach } from "#proxy/balance/p2c.ts";

/** What one request asks of a locale's endpoints. */
export interface PickAsk {
  /** Endpoints that failed it: not taken, unless `reach` is `tried`. */
  readonly tried: readonly EndpointState[];
  readonly reach: Reach;
  /** Of what the policy hashes on; undefined: any will do. */
  readonly hash: number | undefined;
}

/** A way to choose among the endpoints of one locale. Made anew when the set of them or their policy changes. */
export interface EndpointPicker {
  /** Undefined: none is allowed. */
  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined;
}

/** The default: power of two choices over peak-EWMA × (inflight + 1). */
export class PeakEwmaPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];

  constructor(endpoints: readonly EndpointState[]) {
    this.#endpoints = endpoints;
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    return pickP2c(this.#endpoints, ask, now, rng);
  }
}
