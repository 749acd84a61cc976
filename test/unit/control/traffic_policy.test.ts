import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type Catalog, ownSummary } from "#control/catalog/catalog.ts";
import { merge } from "#control/catalog/merge.ts";
import { ownServices } from "#control/catalog/own.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { POLICY_FIELDS } from "#control/compile/policy_fields.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import { parseResources } from "#control/config/parse.ts";
import { referenceProblems } from "#control/config/references.ts";
import type { Resources } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { MeshName, ServiceName } from "#model/names.ts";
import { orderSchema } from "#model/order.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { cluster } from "#test/kit/mesh.ts";
import { ROOT } from "#test/kit/processes.ts";
import { EVERY_POLICY_FIELD, EVERY_POLICY_MEANT, policyYaml } from "#test/kit/traffic_policy.ts";

const SERVICES = gatewayYaml([], { a: [1], b: [2] }).replace("  rules:\n", "  rules: [{}]\n");

function resourcesOf(text: string): Resources {
  const { resources, problems } = parseResources(text, "f.yaml");
  assert.deepEqual(problems, []);
  return resources;
}

const SPEC = {
  gateway: { listen: { address: "::", port: 1 } },
  egressMs: { child: 0, sibling: 0, parent: 0 },
} as ClusterSpec;

function catalogOf(resources: Resources, change: Partial<Catalog> = {}): Catalog {
  return {
    mesh: "acme.mesh" as MeshName,
    cluster: cluster("eu"),
    gateways: [{ address: "10.0.0.1", port: 1 }],
    own: ownServices(resources, cluster("eu")),
    health: new Map(),
    children: [],
    view: [],
    orders: [],
    ...change,
  };
}

function serviceIn({ services }: Snapshot, name: string) {
  const found = services.find((one) => one.name === (name as ServiceName));
  assert.ok(found !== undefined, `no service ${name}`);
  return found;
}

describe("a TrafficPolicy", () => {
  it("is what a proxy by itself follows", () => {
    const snapshot = snapshotOf(SERVICES + policyYaml(EVERY_POLICY_FIELD));
    assert.deepEqual(serviceIn(snapshot, "a.default").policy, EVERY_POLICY_MEANT);
    assert.equal(serviceIn(snapshot, "b.default").policy, undefined);
    assert.deepEqual(serviceIn(snapshot, "a.default").policyOrigins?.[0]?.refused, []);
  });

  it("goes down the tree as it is", () => {
    const orders = policyOrders(
      resourcesOf(policyYaml(EVERY_POLICY_FIELD) + policyYaml("{ limits: { retries: 3 } }", "q")),
      cluster("eu"),
    );
    const { rateLimits = [], ...meant } = EVERY_POLICY_MEANT;
    const unleased = rateLimits.map(({ leased, ...limit }) => limit);
    assert.deepEqual(JSON.parse(JSON.stringify(orders)), [
      {
        ...{ kind: "policy", from: "eu.acme.mesh", name: "default/p", service: "a.default" },
        policy: { ...meant, rateLimits: unleased },
      },
      {
        kind: "policy",
        from: "eu.acme.mesh",
        name: "default/q",
        policy: { limits: { retries: 3 } },
      },
    ]);
    for (const order of orders) {
      assert.deepEqual(orderSchema.parse(JSON.parse(JSON.stringify(order))), order);
    }
  });

  it("is what gateways of its cluster follow, and what those below them do", () => {
    const resources = resourcesOf(SERVICES + policyYaml("{ limits: { requests: 9 } }"));
    const parents = policyOrders(
      resourcesOf(policyYaml("{ limits: { retries: 3 } }")),
      cluster("core"),
    );
    const strangers = policyOrders(
      resourcesOf(policyYaml("{ limits: { requests: 1 } }")),
      cluster("us"),
    );
    const catalog = catalogOf(resources, { orders: [...parents, ...strangers] });
    const snapshot = compileGateway({ catalog, resources, spec: SPEC });
    for (const name of ["a.default", "b.default"]) {
      const { policy, policyOrigins } = serviceIn(snapshot, name);
      assert.deepEqual(policy, { limits: { requests: 9, retries: 3 } });
      assert.deepEqual(policyOrigins, [
        { cluster: "core.acme.mesh", policy: "default/p", fields: ["limits.retries"], refused: [] },
        { cluster: "eu.acme.mesh", policy: "default/p", fields: ["limits.requests"], refused: [] },
      ]);
    }
  });

  it("is not asked twice where its own cluster's are among the orders too", () => {
    const resources = resourcesOf(SERVICES + policyYaml("{ limits: { requests: 9 } }"));
    const orders = policyOrders(
      resourcesOf(policyYaml("{ limits: { requests: 1 } }", "old")),
      cluster("eu"),
    );
    const catalog = catalogOf(resources, { orders });
    const snapshot = compileGateway({ catalog, resources, spec: SPEC });
    assert.deepEqual(serviceIn(snapshot, "a.default").policy, { limits: { requests: 9 } });
  });

  it("sends a sidecar's requests by the gateway that counts them or chooses among places", () => {
    const kindsFor = (spec: string) => {
      const resources = resourcesOf(SERVICES + policyYaml(spec));
      const catalog = catalogOf(resources);
      const { policy, locales } = serviceIn(
        compileSidecar({ catalog, resources, spec: SPEC }),
        "a.default",
      );
      return { policy, kinds: locales.map(({ kind, healthy }) => `${kind} ${healthy}`) };
    };
    assert.deepEqual(
      kindsFor("{ hedging: { percentile: 95 }, limits: { requestsPerCaller: 4 } }"),
      {
        policy: { hedging: { percentile: 95 }, limits: { requestsPerCaller: 4 } },
        kinds: ["local 1"],
      },
    );
    for (const counted of [
      "limits: { requests: 9, retries: 2 }",
      "limits: { retries: 2 }, rateLimits: [{ name: x, requests: 1 }]",
      "limits: { retries: 2 }, places: { mustStayIn: us.acme.mesh }",
    ]) {
      assert.deepEqual(kindsFor(`{ ${counted} }`), {
        policy: { limits: { retries: 2 } },
        kinds: ["gateway 1"],
      });
    }
  });
});

it("the configuration in the docs is read as a region's", async () => {
  const docs = await readFile(join(ROOT, "docs/configuration.md"), "utf8");
  const [, section = ""] = docs.split("## TrafficPolicy");
  const [, text = ""] = /```yaml\n(.*?)```/s.exec(section) ?? [];
  const own = `---
apiVersion: espalier.dev/v1alpha1
kind: Cluster
metadata: { name: eu.acme.mesh }
spec: { mesh: acme.mesh }
`;
  const resources = resourcesOf(text + own);
  assert.deepEqual(referenceProblems(resources, { elsewhere: undefined }), []);
  const snapshot = compileGateway({ catalog: catalogOf(resources), resources, spec: SPEC });
  const { policy, policyOrigins, replication, locales } = serviceIn(snapshot, "orders.default");
  assert.deepEqual(Object.keys(policy ?? {}).toSorted(), [
    ...["balance", "hedging", "limits", "outliers", "places", "priority", "rateLimits", "retries"],
  ]);
  assert.deepEqual(
    policyOrigins?.flatMap(({ refused }) => refused),
    [],
  );
  assert.equal(replication?.primary, "store-1.eu.acme.mesh");
  assert.deepEqual(
    locales[0]?.endpoints.map(({ zone }) => zone),
    ["a", "b"],
  );
});

it("the docs have a row for each field of a TrafficPolicy, and how it is inherited", async () => {
  const docs = await readFile(join(ROOT, "docs/configuration.md"), "utf8");
  const [, section = ""] = docs.split("## TrafficPolicy");
  const rows = new Map<string, string>();
  let group = "";
  for (const row of section.split("\n\n")[2]!.split("\n").slice(2)) {
    const names = row
      .split("|")[1]!
      .replaceAll("[]", "")
      .matchAll(/`([^`]+)`/g);
    let stem = "";
    for (const [, name = ""] of names) {
      if (name.startsWith("spec.")) group = name.slice("spec.".length).split(".")[0]!;
      // Of `.a.b`, `.c` the second is `.a.c`.
      const isDeep = name.split(".").length > 2;
      const full = name.startsWith("spec.")
        ? name.slice("spec.".length)
        : `${isDeep || stem === "" ? group : stem}${name}`;
      stem = full.split(".").slice(0, -1).join(".");
      rows.set(full, row);
    }
  }
  const words = {
    preference: /preference/,
    least: /smaller/,
    true: /stays/,
    narrower: /narrower/,
    union: /all hold/,
  };
  for (const { rule, said } of Object.values(POLICY_FIELDS)) {
    const row = rows.get(said) ?? rows.get(`${said}.cluster`);
    assert.ok(row !== undefined, `no row for ${said}`);
    if (said !== "balance.hashOn") assert.match(row, words[rule], said);
  }
});

describe("replication", () => {
  const db = (epoch: number, primary: string, more = "") =>
    `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: db }
spec:
  ports: [{ port: 80 }]
  endpoints: [{ address: 127.0.0.1, port: 3 }]
  replication: { primary: ${primary}, epoch: ${epoch}, replicas: [eu.acme.mesh, us.acme.mesh${more}], maxStaleness: 2s }
`;
  const summaryOf = (text: string) => {
    const catalog = catalogOf(resourcesOf(text));
    return ownSummary(catalog, catalog.own[0]!);
  };
  const freshness = "fresh" as const;

  it("is that of the highest epoch, which fences who has an older one", () => {
    const resources = resourcesOf(db(3, "eu.acme.mesh"));
    for (const [epoch, primary] of [
      [2, "eu.acme.mesh"],
      [4, "us.acme.mesh"],
    ] as const) {
      const summary = summaryOf(db(epoch, "us.acme.mesh"));
      const catalog = catalogOf(resources, {
        view: [
          { kind: "sibling", cluster: cluster("us"), service: "db.default", summary, freshness },
        ],
      });
      const service = serviceIn(compileGateway({ catalog, resources, spec: SPEC }), "db.default");
      assert.equal(service.replication?.primary, primary);
    }
  });

  it("is the same everywhere if one epoch is said in two ways, and known where the service is not", () => {
    const [a, b] = [db(3, "eu.acme.mesh"), db(3, "us.acme.mesh")].map(summaryOf);
    for (const said of [
      [a!, b!],
      [b!, a!],
    ]) {
      const merged = merge(
        said.map((summary) => ({ summary, freshness })),
        [],
      ).summary;
      assert.equal(merged.replication?.primary, "eu.acme.mesh");
      const summary = merged;
      const none = resourcesOf("");
      const catalog = catalogOf(none, {
        view: [
          { kind: "parent", cluster: cluster("core"), service: "db.default", summary, freshness },
        ],
      });
      const input = { catalog, resources: none, spec: SPEC };
      assert.equal(serviceIn(compileGateway(input), "db.default").replication?.epoch, 3);
      assert.equal(serviceIn(compileSidecar(input), "db.default").replication, undefined);
    }
  });
});

describe("drains", () => {
  it("take out the cluster and all that lies below it, and nothing that is only reached through it", () => {
    const summary = {
      ...{ gateways: [{ address: "10.0.0.2", port: 1 }], healthy: 1, total: 1, port: 80 },
      appProtocol: "http" as const,
    };
    const facts = new Map([["a.default", summary]]);
    const resources = resourcesOf(SERVICES);
    const drainedWith = (drained: string[]) => {
      const catalog = catalogOf(resources, {
        cluster: cluster("s1.eu"),
        children: [
          { cluster: cluster("x.s1.eu"), freshness: "fresh", facts },
          { cluster: cluster("y.s1.eu"), freshness: "fresh", facts },
        ],
        view: [
          ...["s2.eu", "xs2.eu"].map((short) => ({
            ...{ kind: "sibling" as const, cluster: cluster(short), service: "a.default" },
            ...{ summary, freshness: "fresh" as const, grant: 7 },
          })),
          {
            ...{ kind: "parent" as const, cluster: cluster("eu"), service: "a.default" },
            ...{ summary: { ...summary, stalenessMs: 5 }, freshness: "fresh" as const },
          },
        ],
        orders: drained.map((short) => ({
          ...{ kind: "drain" as const, from: cluster("core"), cluster: cluster(short) },
        })),
      });
      return serviceIn(compileGateway({ catalog, resources, spec: SPEC }), "a.default").locales;
    };
    const out = (drained: string[]) =>
      drainedWith(drained).flatMap((one) => (one.drained === true ? [one.cluster] : []));
    assert.deepEqual(out([]), []);
    assert.deepEqual(out(["s2.eu"]), [cluster("s2.eu")]);
    assert.deepEqual(out(["x.s1.eu"]), [cluster("x.s1.eu")]);
    assert.deepEqual(out(["eu"]), ["s1.eu", "x.s1.eu", "y.s1.eu", "s2.eu", "xs2.eu"].map(cluster));
    const [, , , sibling, , parent] = drainedWith([]);
    assert.equal(sibling?.grant, 7);
    assert.equal(parent?.stalenessMs, 5);
  });
});
