import type { Resource } from "#control/config/resources.ts";

/** Gateway API: where two are equally specific the older one wins, then the one earlier in the alphabet. */
export function byPrecedence(a: Resource<unknown>, b: Resource<unknown>): number {
  const age = (one: Resource<unknown>): number =>
    Date.parse(one.metadata.creationTimestamp ?? "") || Number.POSITIVE_INFINITY;
  const [ageA, ageB] = [age(a), age(b)];
  if (ageA !== ageB) return ageA < ageB ? -1 : 1;
  const name = ({ metadata }: Resource<unknown>): string =>
    `${metadata.namespace}/${metadata.name}`;
  if (name(a) === name(b)) return 0;
  return name(a) < name(b) ? -1 : 1;
}
