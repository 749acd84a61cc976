import type { Rng } from "#kernel/rng.ts";
import type { Backend, RouteRule } from "#model/snapshot.ts";

/** One of the rule's backends, by weight; undefined if none has any. */
export function chooseBackend(rule: RouteRule, rng: Rng): Backend | undefined {
  const { backends } = rule;
  if (backends.length === 1) return backends[0]!.weight > 0 ? backends[0] : undefined;
  let total = 0;
  for (const backend of backends) total += backend.weight;
  if (total === 0) return undefined;
  let draw = rng.below(total);
  for (const backend of backends) {
    if (draw < backend.weight) return backend;
    draw -= backend.weight;
  }
  return undefined;
}
