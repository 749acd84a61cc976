import type { Millis } from "#kernel/brand.ts";

/** To the head of the answer, for requests whose route says nothing (Envoy's default as well). */
export const DEADLINE_DEFAULT_MS = 15_000;

/**
 * What a request may take from here: the least of what its route allows and of what the hop before
 * left. 0 means no limit.
 * @param routeMs undefined: not said, the default; 0: none.
 */
export function requestDeadline(routeMs: Millis | undefined, hopMs: Millis | undefined): Millis {
  const own = routeMs ?? DEADLINE_DEFAULT_MS;
  if (hopMs === undefined) return own;
  return own === 0 ? hopMs : Math.min(own, hopMs);
}
