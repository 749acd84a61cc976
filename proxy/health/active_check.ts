/** When checks change what is thought of an endpoint. */
export interface CheckPolicy {
  /** Failures in a row that make a healthy endpoint unhealthy. */
  readonly unhealthyThreshold: number;
  /** Successes in a row that make an unhealthy one healthy. */
  readonly healthyThreshold: number;
}

/** What active checks say of an endpoint. */
export interface CheckVerdict {
  readonly healthy: boolean;
  /** What the check that decided has seen, for people: `SERVING`, `503`, `timeout`. */
  readonly reason: string;
}

/** How the last checks of an endpoint went. */
export interface CheckState {
  /** Undefined: none has ended yet. */
  readonly healthy: boolean | undefined;
  /** Results in a row, up to now, that speak against `healthy`. */
  readonly against: number;
}

/** Nothing is known. */
export const UNCHECKED: CheckState = { healthy: undefined, against: 0 };

/**
 * The first check decides; after that it takes as many in a row as `policy` says. Passive ejection
 * (`afterRequest`) knows nothing of this and is not known here: an endpoint takes requests if neither is against it.
 * @param ok whether the check that has ended went well.
 */
export function afterCheck(state: CheckState, ok: boolean, policy: CheckPolicy): CheckState {
  if (state.healthy === undefined) return { healthy: ok, against: 0 };
  if (state.healthy === ok) return state.against === 0 ? state : { healthy: ok, against: 0 };
  const against = state.against + 1;
  const threshold = state.healthy ? policy.unhealthyThreshold : policy.healthyThreshold;
  return against < threshold ? { healthy: state.healthy, against } : { healthy: ok, against: 0 };
}
