import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ownServices } from "#control/catalog/own.ts";
import { compileGateway, compileSidecar } from "#control/compile/mesh.ts";
import { parseResources } from "#control/config/parse.ts";
import type { ClusterSpec } from "#control/config/schema.ts";
import type { MeshName } from "#model/names.ts";
import { problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { cluster } from "#test/kit/mesh.ts";

/** A Service with these `connections`, flow YAML. */
function serviceYaml(connections: string, appProtocol = "http"): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: a }
spec:
  ports: [{ port: 80, appProtocol: ${appProtocol} }]
  endpoints: [{ address: 127.0.0.1, port: 1 }]
  connections: ${connections}
`;
}

const EVERYTHING = `{ max: 5, pending: 0, pendingTimeout: 2s, connectTimeout: 300ms, idleTimeout: 1m,
    lifetime: 0s, requests: 1000 }`;
const MEANT = {
  max: 5,
  pending: 0,
  pendingTimeoutMs: 2_000,
  connectTimeoutMs: 300,
  idleTimeoutMs: 60_000,
  lifetimeMs: 0,
  requests: 1_000,
};

describe("what a Service says of connections", () => {
  it("is in the snapshot of a proxy by itself", () => {
    assert.deepEqual(snapshotOf(serviceYaml(EVERYTHING)).services[0]!.connections, MEANT);
    assert.deepEqual(snapshotOf(serviceYaml("{ max: 2 }")).services[0]!.connections, { max: 2 });
    const tcp = snapshotOf(serviceYaml("{ connectTimeout: 2s }", "tcp"));
    assert.deepEqual(tcp.services[0]!.connections, { connectTimeoutMs: 2_000 });
  });

  it("is in the snapshots of its cluster's gateway and sidecars", () => {
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
      assert.deepEqual(services[0]!.connections, MEANT);
    }
  });

  for (const [bad, appProtocol, says] of [
    ["{ max: 0 }", "http", /connections\.max: /],
    ["{ max: many }", "http", /connections\.max: /],
    ["{ pending: -1 }", "http", /connections\.pending: /],
    ["{ pending: 1.5 }", "http", /connections\.pending: /],
    ["{ pendingTimeout: 0s }", "http", /connections\.pendingTimeout: must be more than nothing/],
    ["{ connectTimeout: 1 }", "http", /connections\.connectTimeout: /],
    ["{ idleTimeout: 0ms }", "http", /connections\.idleTimeout: must be more than nothing/],
    ["{ lifetime: -1s }", "http", /connections\.lifetime: must be a duration/],
    ["{ requests: -1 }", "http", /connections\.requests: /],
    ["{ maximum: 1 }", "http", /connections\.maximum: unknown field/],
    ["{ max: 1, connectTimeout: 1s }", "tcp", /connections\.max: not for appProtocol: tcp/],
    ["{ lifetime: 1h }", "tcp", /connections\.lifetime: not for appProtocol: tcp/],
  ] as const) {
    it(`is refused where it means nothing: ${appProtocol} ${bad}`, () => {
      const problems = problemsOf(serviceYaml(bad, appProtocol));
      assert.equal(problems.length, 1);
      assert.match(problems[0]!, says);
      assert.match(problems[0]!, /^f\.yaml:7: spec\./);
    });
  }
});
