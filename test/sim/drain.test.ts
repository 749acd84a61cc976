import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import { must } from "#test/kit/mesh.ts";
import { SIM_HOST, SIM_SERVICE, SimWorld } from "#test/sim/world.ts";

const STORE = "store-1.eu.acme.mesh" as ClusterName;
const REGION = "eu.acme.mesh" as ClusterName;
const CORE = "core.acme.mesh" as ClusterName;

/** Runs `ms` of 250 requests/s at every cluster of the region. */
function load(world: SimWorld, ms: number): void {
  const clusters = world.clusters().filter(({ name }) => name.endsWith(REGION));
  for (let spent = 0; spent < ms; spent += 4) {
    for (const cluster of clusters) world.request(cluster, SIM_HOST);
    world.clock.advance(4);
  }
}

/** When the last request was sent that `by` has answered, after `since`. */
function lastServed(world: SimWorld, by: ClusterName, since: number): number {
  const served = world.requests.filter((r) => r.sentAt >= since && r.by.endsWith(`@${by}`));
  return Math.max(since, ...served.map(({ sentAt }) => sentAt));
}

function failures(world: SimWorld): string[] {
  world.clock.advance(20_000);
  return world.requests
    .filter(({ status }) => status !== 200)
    .map(({ at, sentAt, status }) => `${at} at ${sentAt}: ${status}`);
}

describe("an operator takes a cluster out under load", () => {
  for (const asked of [STORE, REGION, CORE]) {
    it(`at ${asked}: within a second nobody is served there, nothing fails, and it comes back`, () => {
      const world = new SimWorld(1);
      // Slow enough for much to run at any time, so that there is something to be cut.
      for (const { origins } of world.clusters()) for (const origin of origins) origin.delayMs = 40;
      world.clock.advance(10_000);
      load(world, 5_000);
      const at = world.clock.now();
      assert.ok(lastServed(world, STORE, at - 100) > at - 100, "it was in use");
      must(world.cluster(asked).control.obey({ verb: "drain", cluster: STORE }));
      load(world, 8_000);
      const left = lastServed(world, STORE, at) - at;
      assert.ok(left < 1_000, `after ${left} ms`);
      const back = world.clock.now();
      must(world.cluster(asked).control.obey({ verb: "undrain", cluster: STORE }));
      load(world, 10_000);
      assert.ok(lastServed(world, STORE, back) > back + 9_000);
      assert.deepEqual(failures(world), []);
    });
  }

  it("whose control service starts again, alone, and still knows", () => {
    const world = new SimWorld(1);
    world.clock.advance(10_000);
    must(world.cluster(CORE).control.obey({ verb: "drain", cluster: STORE }));
    world.clock.advance(5_000);
    const [store, core] = [world.cluster(STORE), world.cluster(CORE)];
    world.network.killGate(world.cluster(REGION).gatePort);
    world.cluster(REGION).stopControl();
    store.stopControl();
    store.startControl();
    const drains = [{ kind: "drain", from: CORE, cluster: STORE }];
    assert.deepEqual(store.control.catalog.orders, drains);
    core.stopControl();
    core.startControl();
    assert.deepEqual(core.control.catalog.orders, drains);
    const locales = store.tables?.services.get(SIM_SERVICE)?.balancer.locales ?? [];
    assert.equal(locales.find(({ kind }) => kind === "local")?.locale.drained, true);
  });

  it("and a child cannot order anything", () => {
    const world = new SimWorld(1);
    world.clock.advance(10_000);
    const { control } = world.cluster(STORE);
    const refused = control.obey({ verb: "drain", cluster: REGION });
    assert.deepEqual(refused.ok ? undefined : refused.error.status, 409);
    world.clock.advance(5_000);
    assert.deepEqual(world.cluster(REGION).control.catalog.orders, []);
  });
});
