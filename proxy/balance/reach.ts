import type { Millis } from "#kernel/brand.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";

/**
 * How far to look for an endpoint, from the wanted to the desperate. `spare`: of the healthy, those that run less than
 * they have shown to bear; `slack`: or hardly more. `panic` in place of `healthy`: those as well that only checks or
 * comparisons speak against.
 */
export type Reach = "spare" | "slack" | "healthy" | "panic" | "out" | "tried";

/** What `slack` lets run at an endpoint, times its limit: what keys move for has to be more than chance. */
const SLACK = 1.25;

/** What one request asks of a locale's endpoints. */
export interface PickAsk {
  /** Endpoints that failed it: not taken, unless `reach` is `tried`. */
  readonly tried: readonly EndpointState[];
  readonly reach: Reach;
  /** Of what the policy hashes on, 32 bits; undefined: any will do. */
  readonly hash: number | undefined;
}

/** Whether the request may be given to `endpoint`. */
export function isAllowed(endpoint: EndpointState, ask: PickAsk, now: Millis): boolean {
  if (ask.reach === "tried") return true;
  if (ask.tried.length > 0 && ask.tried.includes(endpoint)) return false;
  switch (ask.reach) {
    case "spare":
      return !endpoint.isOut(now) && endpoint.hasRoom(1);
    case "slack":
      return !endpoint.isOut(now) && endpoint.hasRoom(SLACK);
    case "healthy":
      return !endpoint.isOut(now);
    case "panic":
      return now >= endpoint.outlier.ejectedUntil;
    default:
      return true;
  }
}

/** Index of the first allowed endpoint at or after `from`, going round; -1 if there is none. */
export function firstAllowed(
  endpoints: readonly EndpointState[],
  ask: PickAsk,
  now: Millis,
  from: number,
): number {
  const count = endpoints.length;
  for (let step = 0; step < count; step++) {
    const at = from + step < count ? from + step : from + step - count;
    if (isAllowed(endpoints[at]!, ask, now)) return at;
  }
  return -1;
}
