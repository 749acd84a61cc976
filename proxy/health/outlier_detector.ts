import type { Millis } from "#kernel/brand.ts";
import type { OutlierPolicy } from "#model/traffic_policy.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { afterRequest, CONNECT_FAILURE_WEIGHT } from "#proxy/health/outlier.ts";

/** Passive health of one locale's endpoints: who is ejected because of how requests went. */
export class OutlierDetector {
  /**
   * @param policy undefined: the defaults.
   * @param endpoints of one locale; the detector is for exactly these.
   * @param seed tells this worker from all others, so that they do not let endpoints back in step.
   * @param previous of the same locale in the snapshot before.
   */
  constructor(
    _policy: OutlierPolicy | undefined,
    _endpoints: readonly EndpointState[],
    _seed?: number | undefined,
    _previous?: OutlierDetector | undefined,
  ) {}

  /** A try has ended. True: the endpoint is ejected by it, and may have been the last one of its locale. */
  afterTry(endpoint: EndpointState, outcome: Outcome, now: Millis): boolean {
    if (outcome === "cancelled") return false;
    const before = endpoint.outlier;
    const weight = outcome === "ok" ? 0 : outcome === "unreachable" ? CONNECT_FAILURE_WEIGHT : 1;
    endpoint.outlier = afterRequest(before, weight, now);
    if (outcome === "ok" || endpoint.outlier.ejectedUntil === before.ejectedUntil) return false;
    // The ejection keeps traffic away; when it is over, how slow the failures were says nothing.
    endpoint.ewma.reset(now);
    return true;
  }

  /** Compares the endpoints with each other where it is time to; to be called often. True: one is ejected by it. */
  review(_now: Millis): boolean {
    return false;
  }
}
