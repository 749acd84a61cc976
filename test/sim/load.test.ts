import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import { SIM_HOST, SimWorld } from "#test/sim/world.ts";

const STORE = "store-1.eu.acme.mesh" as ClusterName;
/** The nearest of its neighbours, which bears it all. */
const SIBLING = "store-2.eu.acme.mesh" as ClusterName;

/** Runs `ms` of 250 requests/s at the store. */
function load(world: SimWorld, ms: number): void {
  const store = world.cluster(STORE);
  for (let spent = 0; spent < ms; spent += 4) {
    world.request(store, SIM_HOST);
    world.clock.advance(4);
  }
}

/** A store whose own service is dead, so that its requests leave it by its neighbours. */
function leaning(): SimWorld {
  const world = new SimWorld(1);
  world.clock.advance(10_000);
  for (const origin of world.cluster(STORE).origins) origin.alive = false;
  load(world, 5_000);
  return world;
}

function failures(world: SimWorld): string[] {
  world.clock.advance(20_000);
  return world.requests
    .filter(({ status }) => status !== 200)
    .map(({ sentAt, status }) => `${sentAt}: ${status}`);
}

describe("failing over under load", () => {
  for (const [what, happen] of [
    ["a link that swallows everything", (w: SimWorld) => w.network.blackHole(STORE, SIBLING, true)],
    ["a gateway that is killed", (w: SimWorld) => w.network.killGate(w.cluster(SIBLING).gatePort)],
  ] as const) {
    it(`loses no request to ${what}`, () => {
      const world = leaning();
      happen(world);
      load(world, 8_000);
      assert.deepEqual(failures(world), []);
    });
  }
});
