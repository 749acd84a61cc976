import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import { SIM_HOST, type SimCluster, SimWorld } from "#test/sim/world.ts";

const DARK = "store-1.eu.acme.mesh" as ClusterName;
const REGION = "eu.acme.mesh" as ClusterName;
const SIBLING = "store-2.eu.acme.mesh" as ClusterName;

/** Healthy endpoints of `DARK`, as its parent or its sibling knows. */
function known({ name, control }: SimCluster): number | undefined {
  const { children, view } = control.catalog;
  if (name === REGION) {
    return children.find(({ cluster }) => cluster === DARK)?.facts.get("menu.shop")?.healthy;
  }
  return view.find(({ cluster }) => cluster === DARK)?.summary.healthy;
}

/** How long it took until both knew, under load in the dark cluster. */
function untilKnown(world: SimWorld, healthy: number): Record<string, number> {
  const began = world.clock.now();
  const took: Record<string, number> = {};
  for (let spent = 0; spent < 20_000 && Object.keys(took).length < 2; spent += 4) {
    world.request(world.cluster(DARK), SIM_HOST);
    world.clock.advance(4);
    for (const name of [REGION, SIBLING]) {
      if (known(world.cluster(name)) === healthy) took[name] ??= world.clock.now() - began;
    }
  }
  return took;
}

describe("a cluster that goes dark", () => {
  it("is known to be so by its parent and its sibling within a second, whenever that happens", (t) => {
    const worst: Record<string, number> = {};
    for (let seed = 1; seed <= 20; seed++) {
      const world = new SimWorld(seed);
      world.clock.advance(10_000 + 50 * seed);
      untilKnown(world, 2);
      for (const origin of world.cluster(DARK).origins) origin.alive = false;
      const took = untilKnown(world, 0);
      for (const name of [REGION, SIBLING]) {
        assert.ok(took[name]! <= 500, `seed ${seed}: ${name} after ${took[name]} ms`);
        worst[name] = Math.max(worst[name] ?? 0, took[name]!);
      }
      for (const origin of world.cluster(DARK).origins) origin.alive = true;
    }
    t.diagnostic(`at worst after, ms: ${JSON.stringify(worst)}`);
  });
});
