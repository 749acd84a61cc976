import { seededRng } from "#kernel/rng.ts";
import type { Rule } from "#test/sim/scale/rule.ts";
import type { Host } from "#test/sim/scale/rules/flat_hosts.ts";
import { LatencyOnly } from "#test/sim/scale/rules/latency_only.ts";
import {
  ENVOY_LEVELS,
  ISTIO_LEVELS,
  PriorityLevels,
} from "#test/sim/scale/rules/priority_levels.ts";
import { nearestOnly, roundRobin } from "#test/sim/scale/rules/round_robin.ts";
import { waterfallRules } from "#test/sim/scale/rules/waterfall.ts";
import type { ScaleWorld } from "#test/sim/scale/scale_world.ts";
import type { Place } from "#test/sim/scale/topology.ts";

/** Ours first. */
export const RULES = ["waterfall", "envoy", "istio", "round-robin", "nearest", "latency"] as const;
export type RuleName = (typeof RULES)[number];

/** What of a scenario concerns our rule alone. */
export interface Surroundings {
  /** Links whose probes are more than the first reading: those that change. */
  readonly watched: ReadonlyArray<readonly [number, number]>;
  /** Clocks of gateways differ by up to ten minutes. */
  readonly skewed: boolean;
  readonly sever: (from: number, to: number) => void;
}

/** A rule gets back what it has given out, whoever carries it. */
function anyRule<H>(rule: Rule<H>): Rule<unknown> {
  return rule as Rule<unknown>;
}

/** A rule for every gateway. */
export function makeRules(
  name: RuleName,
  world: ScaleWorld,
  around: Surroundings,
): readonly Rule<unknown>[] {
  const { topology, seed } = world;
  const each = (make: (place: Place) => Rule<Host>): readonly Rule<unknown>[] =>
    topology.places.map((place) => anyRule(make(place)));
  const rng = (place: Place) => seededRng(seed, place.id, 7);
  switch (name) {
    case "waterfall":
      return waterfallRules(world, around).map(anyRule);
    case "envoy":
      return each((place) => new PriorityLevels(topology, place, rng(place), ENVOY_LEVELS));
    case "istio":
      return each((place) => new PriorityLevels(topology, place, rng(place), ISTIO_LEVELS));
    case "round-robin":
      return each((place) => roundRobin(topology, place));
    case "nearest":
      return each((place) => nearestOnly(topology, place));
    case "latency":
      return each((place) => new LatencyOnly(topology, place, rng(place)));
    default:
      return name satisfies never;
  }
}
