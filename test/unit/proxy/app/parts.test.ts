import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MemoryLogger } from "#kernel/log.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import { mergeReports } from "#model/report.ts";
import { parseSnapshot, type Service } from "#model/snapshot.ts";
import type { DataPlane } from "#proxy/app/data_plane.ts";
import { explain } from "#proxy/app/explain.ts";
import { ProxyProcess } from "#proxy/app/proxy_process.ts";
import { inboundSnapshot, withOutbound } from "#proxy/app/sidecar.ts";
import { buildTables, endpointsOf, linksOf } from "#proxy/app/tables.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { OwnSource } from "#proxy/subscribe/mapped_source.ts";
import { NO_FAILURES, type SnapshotSink, type SnapshotSource } from "#proxy/subscribe/source.ts";
import { must } from "#test/kit/mesh.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";

const place = { address: "127.0.0.1", port: 1 };

describe("reports of several workers", () => {
  it("are one: the most favourable health, all requests, the mean of medians", () => {
    assert.deepEqual(
      mergeReports([
        [{ service: "a.b", healthy: 1, inflight: 2, p50Ms: 4 }],
        [{ service: "a.b", healthy: 3, inflight: 1, p50Ms: 6 }],
        [{ service: "a.b", healthy: 2, inflight: 0 }],
        [{ service: "a.b", healthy: 2, inflight: 0, p50Ms: 20 }],
      ]),
      [{ service: "a.b", healthy: 3, inflight: 3, p50Ms: 10 }],
    );
  });
});

describe("what a service says of connections", () => {
  it("is said of its own endpoints, not of gateways", () => {
    const snapshot = simpleSnapshot([1]);
    const [service] = snapshot.services;
    const [local] = service!.locales;
    const away = {
      ...local!,
      kind: "child" as const,
      endpoints: [{ ...place, port: 2, weight: 1 }],
    };
    const connections = { max: 3 };
    const services = [{ ...service!, connections, locales: [local!, away] }];
    assert.deepEqual(
      [...endpointsOf({ ...snapshot, services })].map(({ endpoint, rules }) => [
        endpoint.port,
        rules,
      ]),
      [
        [1, connections],
        [2, undefined],
      ],
    );
  });
});

const EVERY_SECOND = {
  intervalMs: 1_000,
  timeoutMs: 1_000,
  unhealthyThreshold: 1,
  healthyThreshold: 1,
};
/** A sidecar's own part. */
const BESIDE = {
  mesh: "acme.mesh" as MeshName,
  cluster: "core.acme.mesh" as ClusterName,
  service: "menu.shop" as ServiceName,
  listen: { address: "10.0.0.1", port: 15_008 },
  app: { address: "127.0.0.1", port: 80 },
};

describe("a sidecar", () => {
  it("has one way in, by mTLS, to its workload", () => {
    const snapshot = inboundSnapshot(BESIDE, undefined);
    assert.deepEqual(must(parseSnapshot(structuredClone(snapshot), "x")), snapshot);
    assert.deepEqual(
      snapshot.listeners.map(({ protocol, port }) => [protocol, port]),
      [["MESH", 15_008]],
    );
    assert.deepEqual(
      [...endpointsOf(snapshot)].map(({ endpoint }) => endpoint.port),
      [80],
    );
    assert.deepEqual(linksOf(snapshot), []);
  });

  it("does for its workload what is said of its service, but the checks of health", () => {
    const tcp = { appProtocol: "tcp", proxyProtocol: "v2", connections: { max: 3 } } as const;
    const healthCheck = { tcp: {}, ...EVERY_SECOND };
    const said = { ...simpleSnapshot([1, 2]).services[0]!, ...tcp, healthCheck };
    const snapshot = inboundSnapshot(BESIDE, said);
    assert.deepEqual(must(parseSnapshot(structuredClone(snapshot), "x")), snapshot);
    const [{ name, appProtocol, proxyProtocol, connections, ...rest }] = snapshot.services as [
      Service,
    ];
    assert.deepEqual({ appProtocol, proxyProtocol, connections }, tcp);
    assert.equal(name, "menu.shop");
    assert.equal(rest.healthCheck, undefined);
    assert.deepEqual(
      [...endpointsOf(snapshot)].map(({ endpoint }) => endpoint.port),
      [80],
    );
    // What changes it is another revision, and nothing else is.
    assert.notEqual(snapshot.revision, inboundSnapshot(BESIDE, undefined).revision);
    const same = inboundSnapshot(BESIDE, { ...said, port: 81, locales: [] });
    assert.equal(same.revision, snapshot.revision);
  });

  it("has one way out, where its workload sends everything", () => {
    const snapshot = withOutbound(simpleSnapshot([1]), { address: "127.0.0.1", port: 15_001 });
    assert.deepEqual(
      snapshot.listeners.map(({ name }) => name),
      ["outbound"],
    );
    assert.deepEqual(snapshot.routes[0]!.listeners, ["outbound"]);
  });
});

function askedFor(url: string) {
  return { url, method: "GET", fields: [] };
}

describe("an explanation", () => {
  it("says what a request would meet, also when that is nothing", () => {
    const tables = buildTables(simpleSnapshot([1]), undefined, new RequestStats(), 0);
    const about = { cluster: "core.acme.mesh", listener: "http", wall: 0 };
    const found = explain(tables, { ...about, asked: askedFor("http://any/") }, 0);
    assert.deepEqual([found.route, found.services[0]?.service], ["HTTPRoute all", "origin.shop"]);
    const unknown = explain(
      tables,
      { ...about, asked: askedFor("http://no.one.svc.acme.mesh/") },
      0,
    );
    assert.match(unknown.problem!, /nobody serves no\.one/);
    const nowhere = explain(tables, { ...about, listener: "x", asked: askedFor("http://any/") }, 0);
    assert.match(nowhere.problem!, /no route/);
  });
});

describe("a proxy's admin port", () => {
  const plane: DataPlane = {
    apply: () => {},
    settled: async () => [
      { name: "http", bound: place },
      { name: "mesh", problem: "EADDRINUSE" },
    ],
    metricsText: async () => "metrics\n",
    reports: async () => [],
    watchHealth: () => {},
    reopenLogs: () => {},
    setWorkersLogLevel: () => {},
    inventory: async () => [],
    explain: async ({ url }) => ({ url, cluster: "core.acme.mesh", services: [] }),
    drain: async () => {},
  };
  const processOf = (source: SnapshotSource): ProxyProcess =>
    new ProxyProcess({
      ...{ clock: new VirtualClock(), log: new MemoryLogger() },
      ...{ plane, version: "1", source },
    });
  const one = simpleSnapshot([1]);
  const ask = async (proxy: ProxyProcess, path: string, query = "") =>
    proxy.adminRoutes().get(path)!(new URLSearchParams(query));

  it("is not ready before there is a configuration, with a listener that is not open, or when it ends", async () => {
    const proxy = processOf(new OwnSource(one));
    assert.deepEqual((await ask(proxy, "/ready")).body, "no configuration yet\n");
    proxy.start();
    const ready = await ask(proxy, "/ready");
    assert.deepEqual([ready.status, ready.body], [503, "mesh: EADDRINUSE\n"]);
    await proxy.stop(0);
    assert.deepEqual((await ask(proxy, "/ready")).body, "draining\n");
  });

  it("shows the configuration and what was refused, until a good one is in force", async () => {
    const says = { sink: undefined as SnapshotSink | undefined };
    const proxy = processOf({
      start: (sink) => {
        says.sink = sink;
      },
      status: () => "static",
      failures: () => NO_FAILURES,
      close: async () => {},
    });
    const config = async () => JSON.parse((await ask(proxy, "/config")).body);
    proxy.start();
    says.sink!.refused(["s: p: no"]);
    assert.deepEqual(await config(), { source: "static", snapshot: null, refused: ["s: p: no"] });
    const { body } = await ask(proxy, "/metrics");
    assert.match(body, /espalier_snapshots_refused_total 1\n/);
    says.sink!.apply(one);
    assert.deepEqual(await config().then(({ snapshot, refused }) => [snapshot.revision, refused]), [
      "1",
      [],
    ]);
  });

  it("explains, for its own cluster only", async () => {
    const proxy = processOf(new OwnSource(one));
    assert.equal((await ask(proxy, "/explain", "url=nonsense")).status, 400);
    assert.equal((await ask(proxy, "/explain", "url=http://a/")).status, 200);
    assert.equal((await ask(proxy, "/explain", "url=http://a/&from=core.acme.mesh")).status, 200);
    assert.equal((await ask(proxy, "/explain", "url=http://a/&from=eu.acme.mesh")).status, 404);
  });
});
