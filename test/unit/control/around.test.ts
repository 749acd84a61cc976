import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Catalog, ChildFacts } from "#control/catalog/catalog.ts";
import { Grants } from "#control/catalog/grants.ts";
import { follow, upward, viewParts } from "#control/catalog/views.ts";
import { seededRng } from "#kernel/rng.ts";
import type { Summary } from "#model/summary.ts";
import { viewFor } from "#test/kit/catalog_tree.ts";
import { cluster, MESH } from "#test/kit/mesh.ts";

const SELF = cluster("eu");
const [MENU, TILL] = ["menu.shop", "till.shop"];

function summary(port: number, demand: number, more: Partial<Summary> = {}): Summary {
  const places = { gateways: [{ address: "10.0.0.1", port }], healthy: 1, total: 1, capacity: 100 };
  const offer = Math.max(100 - demand, 10);
  return { ...places, demand, arrivals: demand, offer, port: 80, appProtocol: "http", ...more };
}

function catalogOf(...facts: ReadonlyArray<Readonly<Record<string, Summary>>>): Catalog {
  const children = facts.map((of, i): ChildFacts => {
    return { cluster: cluster(`s${i}.eu`), freshness: "fresh", facts: new Map(Object.entries(of)) };
  });
  return {
    ...{ mesh: MESH, cluster: SELF, gateways: [{ address: "10.0.0.9", port: 9 }], own: [] },
    ...{ health: new Map(), children, view: [], orders: [] },
  };
}

describe("what is made of a service", () => {
  it("is the same object for as long as nothing changes about it", () => {
    const [a, b, c] = [summary(1, 10), summary(2, 20), summary(3, 30)];
    const first = catalogOf({ [MENU]: a, [TILL]: a }, { [MENU]: b, [TILL]: b });
    const second = catalogOf({ [MENU]: a, [TILL]: a }, { [MENU]: c, [TILL]: b });
    const shown = viewParts(first, cluster("s0.eu"));
    follow(first, second);
    const then = viewParts(second, cluster("s0.eu"));
    assert.equal(then.get(TILL), shown.get(TILL));
    assert.notEqual(then.get(MENU), shown.get(MENU));
    assert.deepEqual(viewFor(second, cluster("s0.eu")), viewFor({ ...second }, cluster("s0.eu")));
  });

  it("is made anew where a child comes, goes, grows old or is drained", () => {
    const all = { [MENU]: summary(1, 10) };
    const first = catalogOf(all, all);
    const changes: Array<Partial<Catalog>> = [
      { children: first.children.slice(0, 1) },
      { children: first.children.map((one) => ({ ...one, freshness: "stale" })) },
      { orders: [{ kind: "drain", from: SELF, cluster: cluster("s1.eu") }] },
      { gateways: [{ address: "10.0.0.8", port: 9 }] },
    ];
    const child = cluster("s0.eu");
    for (const change of changes) {
      const second = { ...first, ...change };
      viewFor(first, child);
      follow(first, second);
      assert.deepEqual(viewFor(second, child), viewFor({ ...second }, child));
      assert.notDeepEqual(viewFor(second, child), viewFor(first, child), JSON.stringify(change));
    }
  });

  it("holds where loads move a little, and grants never more than it would without that", () => {
    const rng = seededRng(1);
    const stores = [0, 1, 2, 3, 4].map((i) => cluster(`s${i}.eu`));
    const noisy = (): Catalog =>
      catalogOf(...stores.map((_, i) => ({ [MENU]: summary(i, 60 + 10 * rng.next()) })));
    let last = noisy();
    let told = upward(last);
    let [news, rounds] = [0, 200];
    for (let round = 0; round < rounds; round++) {
      const next = noisy();
      follow(last, next);
      const grants = Grants.of(next);
      for (const [i, to] of stores.entries()) {
        const { offer } = next.children[i]!.facts.get(MENU)!;
        const all = stores
          .filter((from) => from !== to)
          .map((from) => grants.between(from, to, MENU)!);
        const sum = all.reduce((a, b) => a + b, grants.toChild(to, MENU)!);
        assert.ok(sum <= offer! + 1e-6, `round ${round}: ${sum} of ${offer}`);
      }
      const [before, now] = [told.get(MENU)!, upward(next, told).get(MENU)!];
      const exact = upward({ ...next }).get(MENU)!;
      assert.ok(now.demand! >= exact.demand! && now.demand! < 1.25 * exact.demand!);
      if (JSON.stringify(before) !== JSON.stringify(now)) news++;
      told = new Map([[MENU, now]]);
      last = next;
    }
    assert.ok(news < rounds / 10, `said ${news} times`);
  });
});
