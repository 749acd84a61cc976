import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { SnapshotHub } from "#control/api/snapshot_hub.ts";
import { busPermissions, METHODS, mayCall, type Role, TABLE } from "#control/authority/table.ts";
import type { Catalog, ChildFacts } from "#control/catalog/catalog.ts";
import { quantise } from "#control/catalog/catalog.ts";
import { upward } from "#control/catalog/views.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import { Store } from "#control/store/store.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { MeshName, ServiceName } from "#model/names.ts";
import { type Order, orderKey } from "#model/order.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import type { Summary, ViewEntry } from "#model/summary.ts";
import { viewFor } from "#test/kit/catalog_tree.ts";
import { cluster, must } from "#test/kit/mesh.ts";
import { ownService } from "#test/kit/own_service.ts";

const SELF = cluster("eu");

function summary(port: number, healthy = 2, more: Partial<Summary> = {}): Summary {
  return {
    gateways: [{ address: "10.0.0.1", port }],
    healthy,
    total: healthy,
    port: 80,
    appProtocol: "http",
    ...more,
  };
}

function child(
  short: string,
  facts: Record<string, Summary>,
  freshness: ChildFacts["freshness"] = "fresh",
): ChildFacts {
  return { cluster: cluster(short), freshness, facts: new Map(Object.entries(facts)) };
}

function catalog(change: Partial<Catalog> = {}): Catalog {
  return {
    mesh: "acme.mesh" as MeshName,
    cluster: SELF,
    gateways: [{ address: "10.0.0.9", port: 9 }],
    own: [
      ownService("menu.shop", [{ address: "10.1.0.1", port: 1 }], { capacityEach: 10 }),
      ownService("secret.shop", [{ address: "10.1.0.2", port: 2 }], { exported: false }),
    ],
    health: new Map(),
    children: [
      child("store-1.eu", { "menu.shop": summary(1, 3, { capacity: 30, p50Ms: 4 }) }),
      child("store-2.eu", { "menu.shop": summary(2, 1, { capacity: 5 }), "till.shop": summary(2) }),
    ],
    view: [],
    orders: [],
    ...change,
  };
}

const entry = (
  kind: ViewEntry["kind"],
  short: string,
  service: string,
  healthy = 2,
): ViewEntry => ({
  kind,
  cluster: cluster(short),
  service,
  summary: summary(99, healthy),
  freshness: "fresh",
});

describe("what a cluster says upward", () => {
  it("is its exported services and its children's, summed up, at its own gateway", () => {
    const said = upward(catalog());
    assert.deepEqual([...said.keys()].sort(), ["menu.shop", "till.shop"]);
    const menu = said.get("menu.shop")!;
    assert.deepEqual([menu.healthy, menu.total, menu.capacity], [5, 5, 45]);
    assert.deepEqual(menu.gateways, [{ address: "10.0.0.9", port: 9 }]);
  });

  it("has no limit if somebody healthy declares none", () => {
    const said = upward(catalog({ children: [child("store-1.eu", { "menu.shop": summary(1) })] }));
    assert.equal(said.get("menu.shop")!.capacity, undefined);
  });

  it("never repeats what the parent has said", () => {
    const said = upward(catalog({ view: [entry("parent", "core", "far.shop")] }));
    assert.equal(said.has("far.shop"), false);
  });

  it("follows what the gateways measure", () => {
    const health = new Map([["menu.shop" as ServiceName, { healthy: 0, p50Ms: 7 }]]);
    assert.equal(upward(catalog({ children: [], health })).get("menu.shop")!.healthy, 0);
  });

  it("is nothing without a gateway", () => {
    assert.equal(upward(catalog({ gateways: [] })).size, 0);
  });
});

describe("what a child is shown", () => {
  it("is its siblings and the rest through us, never itself", () => {
    const view = viewFor(
      catalog({ view: [entry("parent", "core", "far.shop")] }),
      cluster("store-1.eu"),
    );
    assert.deepEqual([...view.values()].map((e) => `${e.kind} ${e.cluster} ${e.service}`).sort(), [
      "parent eu.acme.mesh far.shop",
      "parent eu.acme.mesh menu.shop",
      "parent eu.acme.mesh till.shop",
      "sibling store-2.eu.acme.mesh menu.shop",
      "sibling store-2.eu.acme.mesh till.shop",
    ]);
    const parent = view.get("eu.acme.mesh/menu.shop")!;
    assert.equal(parent.summary.healthy, 2, "its own three are not among them");
    assert.deepEqual(view.get("store-2.eu.acme.mesh/menu.shop")!.summary.gateways, [
      { address: "10.0.0.1", port: 2 },
    ]);
  });

  it("is nothing of its own when nobody else has it", () => {
    const alone = catalog({
      own: [],
      children: [child("store-1.eu", { "only.shop": summary(1) })],
    });
    assert.equal(viewFor(alone, cluster("store-1.eu")).size, 0);
  });

  it("is as old as its freshest part", () => {
    const old = catalog({
      own: [],
      children: [
        child("store-1.eu", {}),
        child("store-2.eu", { "till.shop": summary(1) }, "suspect"),
      ],
    });
    const view = viewFor(old, cluster("store-1.eu"));
    assert.deepEqual(
      [...view.values()].map(({ freshness }) => freshness),
      ["suspect", "suspect"],
    );
  });

  it("names nobody that the catalog does not hold, whatever the catalog", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const rng = seededRng(seed);
      const services = ["a.x", "b.x", "c.x"];
      const some = () =>
        Object.fromEntries(
          services.filter(() => rng.next() < 0.5).map((s) => [s, summary(1, rng.below(4))]),
        );
      const random = catalog({
        children: ["store-1.eu", "store-2.eu", "store-3.eu"].map((name) => child(name, some())),
        view: services.filter(() => rng.next() < 0.5).map((s) => entry("parent", "core", s)),
      });
      for (const { cluster: name, facts } of random.children) {
        for (const e of viewFor(random, name).values()) {
          assert.notEqual(e.cluster, name);
          assert.ok(
            e.cluster === SELF || random.children.some(({ cluster: c }) => c === e.cluster),
          );
        }
        assert.ok([...facts.keys()].every((s) => upward(random).has(s)));
      }
    }
  });
});

describe("compiled snapshots", () => {
  const spec = parseResources(
    "apiVersion: espalier.dev/v1alpha1\nkind: Cluster\nmetadata: { name: eu.acme.mesh }\nspec: { mesh: acme.mesh, egressMs: { parent: 7 } }\n",
    "c.yaml",
  );
  const input = {
    catalog: catalog({
      view: [entry("parent", "core", "menu.shop"), entry("sibling", "us", "menu.shop")],
    }),
    resources: { ...spec.resources, clusters: [] },
    spec: spec.resources.clusters[0]!.spec,
  };

  it("show a gateway every way, each with the identity that must be proved there", () => {
    const snapshot = compileGateway(input);
    assert.deepEqual(must(parseSnapshot(structuredClone(snapshot), "x")), snapshot);
    const menu = snapshot.services.find(({ name }) => name === "menu.shop")!;
    assert.deepEqual(
      menu.locales.map(({ kind, cluster: c, egressMs, endpoints }) => [
        kind,
        c,
        egressMs,
        endpoints[0]!.identity,
      ]),
      [
        ["local", SELF, 0, undefined],
        ["child", "store-1.eu.acme.mesh", 0, "spiffe://store-1.eu.acme.mesh/mesh/gateway"],
        ["child", "store-2.eu.acme.mesh", 0, "spiffe://store-2.eu.acme.mesh/mesh/gateway"],
        ["parent", "core.acme.mesh", 7, "spiffe://core.acme.mesh/mesh/gateway"],
        ["sibling", "us.acme.mesh", 0, "spiffe://us.acme.mesh/mesh/gateway"],
      ],
    );
    assert.equal(snapshot.services.find(({ name }) => name === "secret.shop")!.exported, false);
    assert.equal(snapshot.listeners.at(-1)!.protocol, "MESH");
  });

  it("show a sidecar its own cluster's endpoints and the gateway for the rest", () => {
    const snapshot = compileSidecar(input);
    const shown = (name: string) =>
      snapshot.services
        .find((s) => s.name === name)!
        .locales.map(({ kind, cluster: c }) => `${kind} ${c}`);
    assert.deepEqual(shown("menu.shop"), ["local eu.acme.mesh", "gateway eu.acme.mesh"]);
    assert.deepEqual(shown("secret.shop"), ["local eu.acme.mesh"]);
    assert.deepEqual(shown("till.shop"), ["gateway eu.acme.mesh"]);
    assert.deepEqual(snapshot.listeners, []);
  });

  it("do not depend on the order of what is known", () => {
    const turned = { ...input, catalog: { ...input.catalog, own: input.catalog.own.toReversed() } };
    assert.equal(compileGateway(turned).revision, compileGateway(input).revision);
  });
});

describe("noise", () => {
  it("is not news", () => {
    assert.equal(quantise(10), quantise(10.2));
    assert.notEqual(quantise(10), quantise(20));
    assert.equal(quantise(0), 0.25);
  });
});

describe("the authority table", () => {
  const ROLES: readonly Role[] = ["self", "child", "gateway", "workload", "anonymous"];
  const MAY: Readonly<Record<string, readonly Role[]>> = {
    "Snapshots/Stream": ["gateway", "workload"],
    "Identity/RenewLeaf": ["gateway", "workload"],
    "Identity/RenewAuthority": ["child"],
    "Enrolment/Join": ["anonymous"],
  };
  for (const method of METHODS) {
    for (const role of ROLES) {
      const may = MAY[method]!.includes(role);
      it(`${may ? "lets" : "does not let"} a ${role} call ${method}`, () => {
        assert.equal(mayCall(role, method), may);
      });
    }
  }

  it("gives a child its own subjects and no others", () => {
    assert.deepEqual(busPermissions("child", "eu"), {
      publish: ["mesh.v1.up.eu.>"],
      subscribe: ["mesh.v1.dn.eu.>", "mesh.v1.dn.all.poke"],
    });
    assert.deepEqual(busPermissions("self", ""), {
      publish: ["mesh.v1.dn.>"],
      subscribe: ["mesh.v1.up.>"],
    });
  });

  it("has no row that nobody tests", () => {
    assert.equal(TABLE.length, 5 + Object.values(MAY).flat().length);
  });
});

describe("snapshot hub", () => {
  const snapshot = (revision: string): Snapshot => ({ ...compileSidecarOf(revision) });
  const compileSidecarOf = (revision: string): Snapshot =>
    must(
      parseSnapshot(
        { revision, mesh: "acme.mesh", cluster: SELF, listeners: [], routes: [], services: [] },
        "x",
      ),
    );

  it("gives each role its newest, once", () => {
    const hub = new SnapshotHub(() => {});
    const got: string[] = [];
    hub.publish("gateway", snapshot("1"));
    hub.subscribe("g", "gateway", ({ revision }) => got.push(revision));
    hub.publish("gateway", snapshot("1"));
    hub.publish("workload", snapshot("w"));
    hub.publish("gateway", snapshot("2"));
    assert.deepEqual(got, ["1", "2"]);
  });

  it("does not send again what was refused, and tells why", () => {
    const hub = new SnapshotHub(() => {});
    const got: string[] = [];
    const subscription = hub.subscribe("g", "gateway", ({ revision }) => got.push(revision));
    hub.publish("gateway", snapshot("1"));
    subscription.verdict({ revision: "1", problems: ["no"] });
    hub.publish("gateway", snapshot("1"));
    assert.deepEqual([got, hub.statuses()[0]!.problems, hub.nacks], [["1"], ["no"], 1]);
    hub.publish("gateway", snapshot("2"));
    subscription.verdict({ revision: "2", problems: [] });
    const { acked, refused } = hub.statuses()[0]!;
    assert.deepEqual([acked, refused, hub.acks], ["2", "", 1]);
    subscription.close();
    assert.deepEqual(hub.statuses(), []);
  });
});

describe("what gateways report", () => {
  it("is news only when it says something new", () => {
    let news = 0;
    const hub = new SnapshotHub(() => news++);
    const [a, b] = ["a", "b"].map((id) => hub.subscribe(id, "gateway", () => {}));
    const mesh = { address: "10.0.0.1", port: 15_008 };
    const said = (healthy: number, p50Ms: number) => [
      { service: "menu.shop", healthy, p50Ms, inflight: Math.random() },
    ];
    const heard = (what: () => void): number => {
      const before = news;
      what();
      return news - before;
    };
    assert.equal(
      heard(() => a!.report(said(2, 10), mesh)),
      1,
    );
    assert.equal(
      heard(() => a!.report(said(2, 10.2), mesh)),
      0,
      "noise",
    );
    assert.equal(
      heard(() => a!.report(said(2, 20), mesh)),
      1,
      "slower",
    );
    assert.equal(
      heard(() => a!.report(said(1, 20), mesh)),
      1,
      "fewer",
    );
    assert.equal(
      heard(() => a!.report(said(1, 20), { ...mesh, port: 1 })),
      1,
      "elsewhere",
    );
    assert.equal(
      heard(() => a!.report([], mesh)),
      1,
      "nothing",
    );
    assert.equal(
      heard(() => b!.report([], undefined)),
      1,
      "the first of another",
    );
    const sidecar = hub.subscribe("s", "workload", () => {});
    assert.equal(
      heard(() => sidecar.report(said(9, 9), mesh)),
      0,
      "not a gateway",
    );
    assert.equal(
      heard(() => b!.close()),
      1,
      "another has gone",
    );
    assert.equal(
      heard(() => a!.close()),
      0,
      "the last has gone",
    );
  });
});

describe("store", () => {
  it("writes only what differs", async () => {
    const dir = await mkdtemp(join(tmpdir(), "espalier-store-"));
    const path = join(dir, "control.db");
    const store = Store.open(path, new MemoryLogger());
    const beside = new DatabaseSync(path, { readOnly: true });
    const written = (save: () => void): boolean => {
      const version = () => Number(beside.prepare("pragma data_version").get()!["data_version"]);
      const before = version();
      save();
      return version() !== before;
    };
    const factsOf = (of: Record<string, number>) =>
      new Map([["eu", new Map(Object.entries(of).map(([name, n]) => [name, summary(n)]))]]);
    const [near, far] = [entry("sibling", "us", "near.shop"), entry("parent", "core", "far.shop")];
    const all = factsOf({ "menu.shop": 1, "till.shop": 2 });
    assert.ok(written(() => store.saveCatalog(all, [near, far], [])));
    assert.ok(!written(() => store.saveCatalog(all, [far, near], [])), "idle");
    const fewer = factsOf({ "menu.shop": 3, "new.shop": 4 });
    assert.ok(written(() => store.saveCatalog(fewer, [near, far], [])));
    assert.deepEqual(store.facts(), fewer);
    assert.ok(written(() => store.saveCatalog(fewer, [far], [])));
    assert.deepEqual(store.view(), [far]);
    beside.close();
    store.close();
    await rm(dir, { recursive: true });
  });

  it("remembers across starts, and starts anew from a corrupt file, loudly", async () => {
    const dir = await mkdtemp(join(tmpdir(), "espalier-store-"));
    const path = join(dir, "control.db");
    const log = new MemoryLogger();
    const first = Store.open(path, log);
    assert.equal(first.nextTerm(), 1);
    first.addChild({ label: "eu", tiers: 1 });
    first.put({ hash: "h", subject: { kind: "proxy", id: "x" }, expiresAt: 5 });
    const far = entry("parent", "core", "far.shop");
    const drain: Order = { kind: "drain", from: "core.acme.mesh", cluster: "us.acme.mesh" };
    const pin = { kind: "pin", from: SELF, service: "menu.shop", cluster: SELF } as const;
    first.saveCatalog(new Map([["eu", new Map([["menu.shop", summary(1)]])]]), [far], [drain]);
    first.addOwnOrder(pin);
    first.addOwnOrder({ ...pin, cluster: "us.acme.mesh" });
    first.addOwnOrder({ ...drain, from: SELF });
    assert.equal(first.removeOwnOrder(orderKey({ ...drain, from: SELF })), true);
    assert.equal(first.removeOwnOrder(orderKey({ ...drain, from: SELF })), false);
    first.close();
    const second = Store.open(path, log);
    assert.equal(second.nextTerm(), 2);
    assert.deepEqual(second.children(), [{ label: "eu", tiers: 1 }]);
    assert.deepEqual(second.facts(), new Map([["eu", new Map([["menu.shop", summary(1)]])]]));
    assert.deepEqual(second.view(), [far]);
    assert.deepEqual(second.heardOrders(), [drain]);
    assert.deepEqual(second.ownOrders(), [{ ...pin, cluster: "us.acme.mesh" }]);
    assert.equal(second.take("h")!.expiresAt, 5);
    assert.equal(second.take("h"), undefined);
    second.close();
    for (const file of ["control.db", "control.db-wal", "control.db-shm"]) {
      await rm(join(dir, file), { force: true });
    }
    await writeFile(path, "this is no database, it only has its name".repeat(50));
    const third = Store.open(path, log);
    assert.deepEqual(third.children(), []);
    assert.ok(log.lines.some(({ message }) => message.includes("children must join again")));
    third.close();
    await rm(dir, { recursive: true });
  });
});
