import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ownServices } from "#control/catalog/own.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { MeshName } from "#model/names.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { cluster } from "#test/kit/mesh.ts";

/** A Service with this `healthCheck`, flow YAML. */
function serviceYaml(healthCheck: string, appProtocol = "http"): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: a }
spec:
  ports: [{ port: 80, appProtocol: ${appProtocol} }]
  endpoints: [{ address: 127.0.0.1, port: 1 }]
  healthCheck: ${healthCheck}
`;
}

const checkOf = (healthCheck: string, appProtocol?: string) =>
  snapshotOf(serviceYaml(healthCheck, appProtocol)).services[0]!.healthCheck;

const USUAL = {
  ...{ intervalMs: 10_000, timeoutMs: 1_000, unhealthyThreshold: 2, healthyThreshold: 2 },
};

describe("what a Service says of health checks", () => {
  it("is in the snapshot of a proxy by itself, with its defaults", () => {
    assert.deepEqual(checkOf("{ tcp: {} }", "tcp"), { ...USUAL, tcp: {} });
    assert.deepEqual(checkOf("{ tcp: {} }"), { ...USUAL, tcp: {} });
    const whole = { ...USUAL, grpc: { service: "" } };
    assert.deepEqual(checkOf("{ grpc: {} }", "grpc"), whole);
    assert.deepEqual(checkOf("{ grpc: {} }", "kubernetes.io/h2c"), whole);
    const http = { path: "/healthz", statuses: [{ from: 200, to: 299 }] };
    assert.deepEqual(checkOf("{ http: { path: /healthz } }"), { ...USUAL, http });
    assert.deepEqual(checkOf("{ http: { path: /healthz } }", "grpc"), { ...USUAL, http });
    const hasty = checkOf("{ tcp: {}, interval: 500ms }");
    assert.deepEqual([hasty!.intervalMs, hasty!.timeoutMs], [500, 500]);
  });

  const EVERYTHING = `{ http: { path: "/healthz?deep=1", expectedStatuses: [200, "300-302"], host: "shop.example:80" },
    interval: 1m, timeout: 2s, unhealthyThreshold: 5, healthyThreshold: 1 }`;
  const MEANT = {
    http: {
      path: "/healthz?deep=1",
      statuses: [
        { from: 200, to: 200 },
        { from: 300, to: 302 },
      ],
      host: "shop.example:80",
    },
    ...{ intervalMs: 60_000, timeoutMs: 2_000, unhealthyThreshold: 5, healthyThreshold: 1 },
  };

  it("is in the snapshots of its cluster's gateway and sidecars", () => {
    assert.deepEqual(checkOf(EVERYTHING), MEANT);
    const { resources, problems } = parseResources(serviceYaml(EVERYTHING), "f.yaml");
    assert.deepEqual(problems, []);
    const catalog = {
      mesh: "acme.mesh" as MeshName,
      cluster: cluster("eu"),
      gateways: [],
      own: ownServices(resources, cluster("eu")),
      health: new Map(),
      children: [],
      view: [],
      orders: [],
    };
    const spec = { gateway: { listen: { address: "::", port: 1 } } } as ClusterSpec;
    for (const compile of [compileGateway, compileSidecar]) {
      const { services } = compile({ catalog, resources, spec });
      assert.deepEqual(services[0]!.healthCheck, MEANT);
    }
  });

  it("is refused in a snapshot that asks nothing, or two things", () => {
    const snapshot = snapshotOf(serviceYaml("{ tcp: {} }"));
    const withCheck = (healthCheck: object) => ({
      ...snapshot,
      services: [{ ...snapshot.services[0]!, healthCheck }],
    });
    assert.equal(parseSnapshot(withCheck({ ...USUAL, tcp: {} }), "test").ok, true);
    assert.equal(parseSnapshot(withCheck(USUAL), "test").ok, false);
    const both = { ...USUAL, tcp: {}, grpc: { service: "" } };
    assert.equal(parseSnapshot(withCheck(both), "test").ok, false);
  });

  for (const [bad, appProtocol, says] of [
    ["{}", "http", /healthCheck: needs one of grpc, http and tcp/],
    ["{ tcp: {}, http: { path: / } }", "http", /healthCheck: needs one of grpc, http and tcp/],
    ["{ grpc: {} }", "http", /healthCheck\.grpc: needs appProtocol: kubernetes\.io\/h2c or grpc/],
    ["{ grpc: {} }", "tcp", /healthCheck\.grpc: needs appProtocol/],
    ["{ http: { path: / } }", "tcp", /healthCheck\.http: not for appProtocol: tcp; use tcp/],
    ["{ http: {} }", "http", /healthCheck\.http\.path: /],
    ["{ http: { path: healthz } }", "http", /healthCheck\.http\.path: must begin with \//],
    ['{ http: { path: "/a b" } }', "http", /healthCheck\.http\.path: must begin with \//],
    ['{ http: { path: "/a#b" } }', "http", /healthCheck\.http\.path: must begin with \//],
    ['{ http: { path: /, host: "a b" } }', "http", /healthCheck\.http\.host: must be a host/],
    ["{ http: { path: /, expectedStatuses: [] } }", "http", /expectedStatuses: /],
    [
      "{ http: { path: /, expectedStatuses: [99] } }",
      "http",
      /expectedStatuses\[0\]: must be a st/,
    ],
    ['{ http: { path: /, expectedStatuses: ["299-200"] } }', "http", /expectedStatuses\[0\]: must/],
    ["{ tcp: { send: x } }", "http", /healthCheck\.tcp\.send: unknown field/],
    ["{ tcp: {}, interval: 99ms }", "http", /healthCheck\.interval: must be between 100ms and 1h/],
    ["{ tcp: {}, interval: 2h }", "http", /healthCheck\.interval: must be between 100ms and 1h/],
    ["{ tcp: {}, timeout: 11s }", "http", /healthCheck\.timeout: must not be longer than the int/],
    ["{ tcp: {}, unhealthyThreshold: 0 }", "http", /healthCheck\.unhealthyThreshold: /],
    ["{ tcp: {}, healthyThreshold: 1.5 }", "http", /healthCheck\.healthyThreshold: /],
  ] as const) {
    it(`is refused where it means nothing: ${appProtocol} ${bad}`, () => {
      const problems = problemsOf(serviceYaml(bad, appProtocol));
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0]!, says);
      assert.match(problems[0]!, /^f\.yaml:7: spec\./);
    });
  }
});
