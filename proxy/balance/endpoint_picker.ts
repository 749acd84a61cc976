import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { BalancePolicy } from "#model/traffic_policy.ts";
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

/** Where a picker works. */
export interface PickerPlace {
  /** Failure domain of the proxy; undefined: not told. */
  readonly zone?: string | undefined;
  /** Tells this worker from all others, 32 bits, so that they do not choose in step; undefined: 0. */
  readonly seed?: number | undefined;
}

/**
 * The picker that a service's policy asks for.
 * @param endpoints of one locale; the picker is for exactly these.
 * @param previous of the same locale in the snapshot before: what it has built is taken over where nothing has changed.
 */
export function makePicker(
  _policy: BalancePolicy | undefined,
  endpoints: readonly EndpointState[],
  _place: PickerPlace,
  _previous?: EndpointPicker,
): EndpointPicker {
  return new PeakEwmaPicker(endpoints);
}

/** The default: power of two choices over peak-EWMA × (inflight + 1). */
class PeakEwmaPicker implements EndpointPicker {
  readonly #endpoints: readonly EndpointState[];

  constructor(endpoints: readonly EndpointState[]) {
    this.#endpoints = endpoints;
  }

  pick(ask: PickAsk, now: Millis, rng: Rng): EndpointState | undefined {
    return pickP2c(this.#endpoints, ask, now, rng);
  }
}
