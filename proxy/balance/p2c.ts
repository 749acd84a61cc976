import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";

/** How far to look for an endpoint: from the wanted to the desperate. */
export type Reach = "healthy" | "out" | "tried";

/**
 * Power of two choices (M. Mitzenmacher, 2001) over the endpoints that `reach` allows: draws two at
 * random, takes the one with the smaller load. Undefined if none is allowed.
 */
export function pickP2c(
  endpoints: readonly EndpointState[],
  about: { readonly tried: readonly EndpointState[]; readonly reach: Reach },
  now: Millis,
  rng: Rng,
): EndpointState | undefined {
  const count = endpoints.length;
  if (count === 0) return undefined;
  const a = draw(endpoints, about, now, count === 1 ? 0 : rng.below(count));
  if (a < 0 || count === 1) return endpoints[a];
  let second = rng.below(count - 1);
  // `>=`, not `===`: or the slot after `a` would be drawn twice as often.
  if (second >= a) second += 1;
  const b = draw(endpoints, about, now, second);
  const first = endpoints[a]!;
  const other = endpoints[b]!;
  return other.load(now) < first.load(now) ? other : first;
}

/** Index of the first allowed endpoint at or after `from`, going round; -1 if there is none. */
function draw(
  endpoints: readonly EndpointState[],
  about: { readonly tried: readonly EndpointState[]; readonly reach: Reach },
  now: Millis,
  from: number,
): number {
  const count = endpoints.length;
  for (let step = 0; step < count; step++) {
    const at = from + step < count ? from + step : from + step - count;
    if (isAllowed(endpoints[at]!, about, now)) return at;
  }
  return -1;
}

function isAllowed(
  endpoint: EndpointState,
  about: { readonly tried: readonly EndpointState[]; readonly reach: Reach },
  now: Millis,
): boolean {
  if (about.reach === "tried") return true;
  if (about.tried.length > 0 && about.tried.includes(endpoint)) return false;
  return about.reach === "out" || !endpoint.isOut(now);
}
