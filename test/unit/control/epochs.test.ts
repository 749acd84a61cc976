import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Catalog } from "#control/catalog/catalog.ts";
import { Epochs } from "#control/catalog/epochs.ts";
import { compileGateway } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import { Store } from "#control/store/store.ts";
import { MemoryLogger } from "#kernel/log.ts";
import type { Summary } from "#model/summary.ts";
import type { Replication } from "#model/traffic_policy.ts";
import { cluster, MESH } from "#test/kit/mesh.ts";

const MENU = "menu.shop";
const [SELF, OLD, NEW] = [cluster("eu"), cluster("s1.eu"), cluster("s2.eu")];
const { resources } = parseResources(
  `apiVersion: espalier.dev/v1alpha1\nkind: Cluster\nmetadata: { name: ${SELF} }\nspec: { mesh: ${MESH} }\n`,
  "c.yaml",
);

function data(epoch: number, primary = OLD): Replication {
  return { primary, epoch, replicas: [OLD, NEW], maxStalenessMs: 1_000 };
}

/** What is known when children say this of the data. */
function catalogOf(said: ReadonlyArray<Replication | undefined>, epochs: Epochs): Catalog {
  const children = said.map((replication, i) => {
    const summary: Summary = {
      ...{ gateways: [{ address: "10.0.0.1", port: i + 1 }], healthy: 1, total: 1 },
      ...{ port: 80, appProtocol: "http" },
      ...(replication && { replication }),
    };
    const facts = new Map([[MENU, summary]]);
    return { cluster: i === 0 ? OLD : NEW, freshness: "fresh" as const, facts };
  });
  const catalog = {
    ...{ mesh: MESH, cluster: SELF, gateways: [], own: [], health: new Map() },
    ...{ children, view: [], orders: [], newest: epochs.newest },
  };
  epochs.learn(catalog);
  return catalog;
}

/** What a gateway is told. */
function told(...said: Parameters<typeof catalogOf>): Replication | undefined {
  const { spec } = resources.clusters[0]!;
  const empty = { ...resources, clusters: [] };
  return compileGateway({ catalog: catalogOf(...said), resources: empty, spec }).services[0]!
    .replication;
}

describe("the highest epoch of a service's data", () => {
  let dir: string;
  let store: Store;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-epochs-"));
    store = Store.open(join(dir, "control.db"), new MemoryLogger());
  });
  afterEach(async () => {
    store.close();
    await rm(dir, { recursive: true });
  });

  it("holds when all who declare it are away, over restarts, until there is a higher one", () => {
    assert.deepEqual(told([data(1), data(2, NEW)], new Epochs(store)), data(2, NEW));
    assert.deepEqual(told([data(1)], new Epochs(store)), data(2, NEW));
    store.close();
    store = Store.open(join(dir, "control.db"), new MemoryLogger());
    assert.deepEqual(told([data(1)], new Epochs(store)), data(2, NEW));
    assert.deepEqual(told([data(3)], new Epochs(store)), data(3));
    assert.deepEqual(told([data(2, NEW)], new Epochs(store)), data(3));
  });

  it("is the living ones' to describe, and makes no service a replicated one", () => {
    const epochs = new Epochs(store);
    assert.deepEqual(told([data(2, NEW)], epochs), data(2, NEW));
    assert.deepEqual(told([data(2)], epochs), data(2));
    assert.equal(told([undefined], epochs), undefined);
    assert.deepEqual(told([data(1)], epochs)?.epoch, 2);
  });

  it("is forgotten when an operator says so", () => {
    const epochs = new Epochs(store);
    told([data(9, NEW)], epochs);
    assert.equal(epochs.forget(MENU), true);
    assert.equal(epochs.forget(MENU), false);
    assert.deepEqual(told([data(1)], epochs), data(1));
    assert.deepEqual(told([data(1)], new Epochs(store)), data(1));
  });

  it("is remembered of so many services, and of no more", () => {
    const epochs = new Epochs(store);
    const facts = new Map(catalogOf([data(1)], epochs).children[0]!.facts);
    const summary = facts.get(MENU)!;
    for (let i = 0; i < 10_010; i++) facts.set(`s${i}.shop`, summary);
    const base = catalogOf([data(1)], epochs);
    epochs.learn({ ...base, children: [{ ...base.children[0]!, facts }] });
    assert.equal(epochs.newest.size, 10_000);
  });
});
