import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Catalog } from "#control/catalog/catalog.ts";
import { leasesOf } from "#control/catalog/leases.ts";
import type { ClusterName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import { type CatalogNode, catalogTree, MENU } from "#test/kit/catalog_tree.ts";

const CORE = "core.acme.mesh";
const EU = "eu.acme.mesh" as ClusterName;
const STORES = ["a", "b"].map((name) => `${name}.${EU}` as ClusterName);

/** Requests per second of the region's own clients and of its stores'. */
function eu(arrivals: readonly [number, number, number], orders: readonly Order[]): Catalog {
  const [own, ...stores] = arrivals;
  const children = STORES.map((name, i): CatalogNode => {
    return { name, capacity: 10, health: { arrivals: stores[i]! } };
  });
  const region = { name: EU, capacity: 10, health: { arrivals: own }, children };
  const tree = catalogTree({ name: "core.acme.mesh", health: {}, children: [region] }, orders);
  return tree.get(EU)!;
}

function policy(from: string, rate: number, service?: string): Order {
  const limit = { name: "all", scope: "Mesh", rate, burst: 10 } as const;
  const local = { name: "mine", scope: "Local", rate: 5, burst: 5 } as const;
  const name = `shop/${service ?? "every"}`;
  return {
    kind: "policy",
    from,
    name,
    ...(service === undefined ? {} : { service }),
    policy: { rateLimits: [limit, local] },
  };
}

/** What each has: the region itself, and its stores. */
function rates(catalog: Catalog): number[] {
  const { own, below } = leasesOf(catalog);
  return [own, ...STORES.map((store) => below.get(store)!)].flatMap((leases) => {
    assert.equal(leases.length, 1, JSON.stringify(leases));
    const [{ kind, service, limit }] = leases as [(typeof leases)[number]];
    assert.deepEqual([kind, service, limit], ["lease", MENU, "all"]);
    return leases.map(({ rate }) => rate);
  });
}

describe("leases of a mesh-wide rate limit", () => {
  it("follow the load, leave the idle something, and are no more than the limit", () => {
    const [own, busy, idle] = rates(eu([10, 1_000, 0], [policy(EU, 100, MENU)]));
    assert.ok(busy! > 80 && own! > 9 && idle! > 3, `${own} ${busy} ${idle}`);
    assert.ok(own! + busy! + idle! <= 100);
  });

  it("are even where nobody brings anything", () => {
    assert.deepEqual(rates(eu([0, 0, 0], [policy(EU, 90, MENU)])), [30, 30, 30]);
  });

  it("are of every service that is known, where the policy is for all; the one for the service counts before it", () => {
    assert.deepEqual(rates(eu([0, 0, 0], [policy(EU, 90)])), [30, 30, 30]);
    const both = [policy(EU, 30, MENU), policy(EU, 90)];
    assert.deepEqual(rates(eu([0, 0, 0], both)), [10, 10, 10]);
    assert.deepEqual(rates(eu([0, 0, 0], both.toReversed())), [10, 10, 10]);
  });

  it("say whom the limit counts by, beside one of the same name from above", () => {
    const by = { type: "Caller" } as const;
    const limit = { name: "all", scope: "Mesh", rate: 90, burst: 10, by } as const;
    const own: Order = { kind: "policy", from: EU, name: "a", policy: { rateLimits: [limit] } };
    const above = { kind: "lease", from: CORE, service: MENU, limit: "all", rate: 60 } as const;
    const { own: leases } = leasesOf({ ...eu([0, 0, 0], []), orders: [own, above] });
    assert.deepEqual(leases, [
      { kind: "lease", from: EU, service: MENU, limit: "all", by, rate: 30 },
      { ...above, rate: 20 },
    ]);
  });

  it("are none of a limit that is the mesh's for all services and each cluster's own for this one", () => {
    const local = { name: "all", scope: "Local", rate: 5, burst: 5 } as const;
    const own: Order = {
      ...{ kind: "policy", from: EU, name: "b", service: MENU },
      policy: { rateLimits: [local] },
    };
    assert.deepEqual(leasesOf(eu([0, 0, 0], [policy(EU, 90), own])).own, []);
  });

  it("divide what a cluster above has leased to this one, and not the policy that it comes from", () => {
    const core = CORE;
    const lease = { kind: "lease", from: core, service: MENU, limit: "all", rate: 60 } as const;
    const catalog = { ...eu([0, 0, 0], []), orders: [policy(core, 600, MENU), lease] };
    assert.deepEqual(rates(catalog), [20, 20, 20]);
    assert.equal(leasesOf(catalog).own[0]!.from, core);
  });
});
