import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allot } from "#control/catalog/allot.ts";
import type { Catalog } from "#control/catalog/catalog.ts";
import { Grants } from "#control/catalog/grants.ts";
import { FLOOR_SHARE, levelOf, partOf, Wants } from "#control/catalog/level.ts";
import { offerOf, stepDown, stepUp } from "#control/catalog/loads.ts";
import { upward } from "#control/catalog/views.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { type CatalogNode, catalogTree, MENU, viewFor } from "#test/kit/catalog_tree.ts";

const STORES = ["a", "b", "c"].map((name) => `${name}.eu.acme.mesh` as ClusterName);

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** A tree of up to three levels below the core; some clusters are dark, some idle, some have nothing declared. */
function randomTree(rng: Rng, name = "core.acme.mesh", depth = 0): CatalogNode {
  const below = name === "core.acme.mesh" ? "acme.mesh" : name;
  const size = depth === 3 ? 0 : rng.below(depth === 0 ? 5 : 4);
  const health = {
    healthy: rng.below(4) === 0 ? 0 : 1,
    ...(rng.below(3) === 0 ? {} : { demand: rng.next() * [1, 100, 1_000][rng.below(3)]! }),
    ...(rng.below(4) === 0 ? { limit: rng.next() * 100 } : {}),
  };
  return {
    name,
    ...(rng.below(5) === 0 ? {} : { capacity: 1 + rng.below(200) }),
    health,
    children: Array.from({ length: size }, (_, i) => randomTree(rng, `c${i}.${below}`, depth + 1)),
  };
}

/** Every cluster of a hundred trees. */
function everywhere(property: (catalog: Catalog, all: Map<string, Catalog>) => void): void {
  for (let seed = 1; seed <= 100; seed++) {
    const all = catalogTree(randomTree(seededRng(seed)));
    for (const catalog of all.values()) {
      try {
        property(catalog, all);
      } catch (error) {
        throw new Error(`seed ${seed} at ${catalog.cluster}: ${(error as Error).message}`);
      }
    }
  }
}

/** What one child is told of another, and of the way through their parent. */
function granted(catalog: Catalog, child: ClusterName, to: string): number | undefined {
  return viewFor(catalog, child).get(`${to}/${MENU}`)?.grant;
}

const unbounded = (grant: number | undefined): number => grant ?? Number.POSITIVE_INFINITY;

/** Three stores of 100 each under a region without endpoints of its own. */
function eu(health: readonly CatalogNode["health"][]): Catalog {
  const children = STORES.map((name, i) => ({ name, capacity: 100, health: health[i] ?? {} }));
  const region = { name: "eu.acme.mesh", health: {}, children };
  return catalogTree({ name: "core.acme.mesh", health: {}, children: [region] }).get(region.name)!;
}

describe("grants", () => {
  it("never add up to more than a cluster offers, anywhere in any tree", () => {
    let limited = 0;
    everywhere((catalog) => {
      const grants = Grants.of(catalog);
      for (const { cluster, facts } of catalog.children) {
        const summary = facts.get(MENU);
        if (summary === undefined) continue;
        const offer = offerOf(summary);
        const direct = catalog.children
          .filter((other) => other.cluster !== cluster)
          .map((other) => unbounded(grants.between(other.cluster, cluster, MENU)));
        const all = sum(direct) + unbounded(grants.toChild(cluster, MENU));
        assert.ok(all <= offer * (1 + 1e-9), `${all} granted of ${offer} at ${cluster}`);
        if (Number.isFinite(offer) && offer > 0) limited++;
      }
    });
    assert.ok(limited > 500);
  });

  it("offer upward no more than the parts below can take from outside", () => {
    everywhere((catalog) => {
      const said = upward(catalog).get(MENU);
      if (said?.offer === undefined) return;
      const own = catalog.own.length === 0 ? 0 : (said.capacity ?? 0);
      const parts = catalog.children.map(({ cluster }) =>
        unbounded(Grants.of(catalog).toChild(cluster, MENU)),
      );
      assert.ok(said.offer <= own + sum(parts) + 1e-9);
      assert.ok(said.offer <= (said.capacity ?? 0) * (1 + 1e-9));
    });
  });

  it("let no more come through a cluster than it can pass on", () => {
    everywhere((catalog) => {
      const grants = Grants.of(catalog);
      const each = (of: (child: ClusterName) => number | undefined): number =>
        sum(catalog.children.map(({ cluster }) => unbounded(of(cluster))));
      const above = catalog.view.filter(({ summary }) => summary.healthy > 0);
      const most =
        sum(catalog.own.map(({ capacityEach }) => unbounded(capacityEach))) +
        each((child) => grants.toChild(child, MENU)) +
        sum(above.map(({ grant }) => unbounded(grant)));
      const through = each((child) => grants.throughHere(child, MENU));
      assert.ok(through <= most * (1 + 1e-9), `${through} of ${most}`);
    });
  });

  it("give a cluster that has gone dark most of what the others have left, and the idle one something", () => {
    const dark = eu([{ healthy: 0, demand: 60 }, { demand: 20 }, { demand: 20 }]);
    const [lost, helper, idle] = STORES;
    assert.ok(granted(dark, lost!, helper!)! > 50);
    assert.ok(granted(dark, idle!, helper!)! > 1);
    const calm = eu([{ demand: 60 }, { demand: 20 }, { demand: 20 }]);
    assert.ok(granted(calm, lost!, helper!)! > 15, "before anybody knows");
  });

  it("give nothing at a cluster that an operator has taken out, and let its own clients leave", () => {
    const [out, helper] = STORES;
    const region = eu([{ demand: 60 }, { demand: 20 }, { demand: 20 }]);
    const orders = [{ kind: "drain", from: region.cluster, cluster: out! }] as const;
    const drained = { ...region, orders };
    assert.equal(granted(drained, helper!, out!), 0);
    assert.ok(granted(drained, out!, helper!)! > 50);
    assert.equal(viewFor(drained, helper!).get(`${out}/${MENU}`)!.summary.drained, true);
    assert.equal(upward(drained).get(MENU)!.healthy, 2);
    assert.equal(upward(drained).get(MENU)!.demand, sum([60, 20, 20].map(stepUp)));
  });

  it("give a thousand edges that want as much a thousandth each, and one that wants nothing its floor", () => {
    const edges = Array.from({ length: 1_001 }, (_, i) => ({
      name: `e${i}.eu.acme.mesh`,
      health: { demand: i === 0 ? 0 : 50 },
    }));
    const region = { name: "eu.acme.mesh", capacity: 2_000, health: {}, children: edges };
    const tree = catalogTree({ name: "core.acme.mesh", health: {}, children: [region] });
    const at = tree.get(region.name)!;
    const grants = edges.map(({ name }) => granted(at, name as ClusterName, region.name)!);
    assert.ok(sum(grants) <= 2_000);
    assert.equal(new Set(grants.slice(1)).size, 1);
    assert.ok(grants[1]! > 2_000 / 1_000 / 1.3);
    assert.ok(grants[0]! > 0 && grants[0]! < grants[1]!);
  });

  it("know of no limit where nobody has declared or learnt one", () => {
    const health = { demand: 5 };
    const children = STORES.map((name) => ({ name, health }));
    const region = { name: "eu.acme.mesh", capacity: Number.POSITIVE_INFINITY, health, children };
    const tree = catalogTree({ name: "core.acme.mesh", health, children: [region] });
    assert.equal(granted(tree.get(region.name)!, STORES[0]!, region.name), undefined);
  });
});

describe("a level", () => {
  it("divides as allot does, in steps downwards", () => {
    const rng = seededRng(7);
    for (let i = 0; i < 1_000; i++) {
      const total = rng.next() * 500;
      const list = Array.from({ length: 2 + rng.below(20) }, () =>
        stepUp(rng.below(3) * rng.next() * 50),
      );
      const except = list[0]!;
      const wants = new Wants();
      for (const want of list) wants.add(want);
      const level = levelOf(total, wants, except);
      const others = list.slice(1);
      const floor = (FLOOR_SHARE * total) / others.length;
      const exact = allot(
        total,
        others.map((want) => ({ want, floor })),
      );
      others.forEach((want, at) => {
        const part = partOf(level, want);
        assert.ok(part <= exact[at]! * (1 + 1e-9), `${part} of ${exact[at]}`);
        assert.ok(part >= exact[at]! / 1.27 - 0.02, `${part} of ${exact[at]}`);
      });
    }
  });
});

describe("steps of what is told", () => {
  it("are never above, and never below, and stay where they are", () => {
    const rng = seededRng(3);
    for (let i = 0; i < 2_000; i++) {
      const value = 10 ** (rng.next() * 8 - 1.9);
      const [down, up] = [stepDown(value), stepUp(value)];
      assert.ok(down <= value && down > value / 1.27, `${down} under ${value}`);
      assert.ok(up >= value && up < value * 1.27, `${up} over ${value}`);
      assert.equal(stepDown(down), down);
      assert.equal(stepUp(up), up);
    }
    assert.deepEqual([stepDown(0), stepUp(0), stepDown(0.001)], [0, 0, 0]);
  });
});
