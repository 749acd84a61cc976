import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Catalog } from "#control/catalog/catalog.ts";
import { ownServices } from "#control/catalog/own.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { policyOrders } from "#control/compile/policy_orders.ts";
import { parseResources } from "#control/config/parse.ts";
import type { Resources } from "#control/config/resources.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { MeshName, ServiceName } from "#model/names.ts";
import { orderSchema } from "#model/order.ts";
import type { Snapshot } from "#model/snapshot.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { cluster } from "#test/kit/mesh.ts";
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
