import type { Rng } from "#kernel/rng.ts";
import type { Weighted } from "#proxy/route/rule.ts";

/** One of the backends, by weight; undefined if none has any. @param total of the weights. */
export function chooseBackend<T extends Weighted>(
  backends: readonly T[],
  total: number,
  rng: Rng,
): T | undefined {
  if (total === 0) return undefined;
  if (backends.length === 1) return backends[0];
  let draw = rng.below(total);
  for (const backend of backends) {
    if (draw < backend.weight) return backend;
    draw -= backend.weight;
  }
  return undefined;
}
