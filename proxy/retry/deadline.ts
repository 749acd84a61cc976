import type { Millis } from "#kernel/brand.ts";

/** To the head of the answer, for requests whose route says nothing (Envoy's default as well). */
export const DEADLINE_DEFAULT_MS = 15_000;

/**
 * What a request may take from here: the least of what its route allows and of what the hop before
 * left. 0 means no limit.
 * @param routeMs undefined: not said, the default; 0: none.
 * @param clientMs what the client itself gives it, in place of the default.
 */
export function requestDeadline(
  routeMs: Millis | undefined,
  hopMs: Millis | undefined,
  clientMs?: Millis,
): Millis {
  const own = routeMs ?? clientMs ?? DEADLINE_DEFAULT_MS;
  const least = Math.min(orNone(own), orNone(hopMs), orNone(clientMs));
  return least === Number.POSITIVE_INFINITY ? 0 : least;
}

function orNone(ms: Millis | undefined): Millis {
  return ms === undefined || ms === 0 ? Number.POSITIVE_INFINITY : ms;
}
