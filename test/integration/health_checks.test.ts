import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createNetServer, type Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import type { Catalog } from "#control/catalog/catalog.ts";
import { ownServices } from "#control/catalog/own.ts";
import { upward } from "#control/catalog/views.ts";
import { compileStatic } from "#control/compile/static.ts";
import { parseResources } from "#control/config/parse.ts";
import type { MeshName, ServiceName } from "#model/names.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { GrpcHealthServer } from "#test/kit/grpc_health.ts";
import { get } from "#test/kit/http.ts";
import { cluster } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";

const QUICK = "interval: 100ms, unhealthyThreshold: 2, healthyThreshold: 2";

/** Everything goes to a service whose endpoints are checked. */
function checkedYaml(check: string, ports: readonly number[], appProtocol = "http"): string {
  const yaml = gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], { origin: ports });
  return yaml.replace(
    "ports: [{ port: 80 }]",
    `ports: [{ port: 80, appProtocol: ${appProtocol} }]\n  healthCheck: { ${check}, ${QUICK} }`,
  );
}

describe("health checks of endpoints", { timeout: 60_000 }, () => {
  const closers: Array<() => unknown> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function start(yaml: string): Promise<{ plane: LocalPlane; port: number }> {
    const { plane, port } = await startPlane(snapshotOf(yaml));
    closers.push(() => plane.drain(0));
    return { plane, port };
  }

  /** What checks say of each endpoint, in the order of the configuration. */
  async function verdicts(plane: LocalPlane): Promise<string[]> {
    const [own] = await plane.inventory();
    return own!.services[0]!.endpoints.map(({ check }) =>
      check === null ? "unknown" : `${check.healthy ? "+" : "-"} ${check.reason}`,
    );
  }

  async function untilSaid(plane: LocalPlane, ...wanted: string[]): Promise<void> {
    await until(wanted.join(", "), async () => {
      const said = await verdicts(plane);
      return said.every((one, i) => one === wanted[i]);
    });
  }

  async function grpcServer(hasHealth = true): Promise<GrpcHealthServer & { port: number }> {
    const server = new GrpcHealthServer();
    const port = await server.start(hasHealth);
    closers.push(() => server.stop());
    return Object.assign(server, { port });
  }

  /** A server that answers with its name, and `/healthz` as it is told. */
  async function httpServer(name: string) {
    const health = { status: 200, asked: 0, hosts: new Set<string>(), requests: 0, delayMs: 0 };
    const server: Server = createServer((asked, answer) => {
      answer.setHeader("x-served-by", name);
      if (asked.url === "/healthz") {
        health.asked++;
        health.hosts.add(asked.headers.host ?? "");
        answer.writeHead(health.status).end("something");
      } else {
        health.requests++;
        setTimeout(() => answer.end(name), health.delayMs);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    });
    return Object.assign(health, { server, port: (server.address() as AddressInfo).port });
  }

  it("by gRPC: a server that flips between SERVING and NOT_SERVING", async () => {
    const [one, two] = [await grpcServer(), await grpcServer()];
    const { plane } = await start(checkedYaml("grpc: {}", [one.port, two.port], "grpc"));
    await untilSaid(plane, "+ SERVING", "+ SERVING");
    assert.deepEqual([...new Set(one.asked)], [""]);

    one.statuses.set("", "NOT_SERVING");
    await untilSaid(plane, "- NOT_SERVING", "+ SERVING");
    const [report] = await plane.reports();
    assert.equal(report!.healthy, 1);
    const asked = { url: "http://a/", method: "GET", fields: [] };
    const { services } = await plane.explain(asked);
    assert.deepEqual(
      [services[0]!.locales[0]!.unhealthy, services[0]!.locales[0]!.reason],
      [1, "takes traffic"],
    );
    const text = await plane.metricsText();
    const of = (name: string, labels = "") => counterOf(text, name, labels);
    assert.equal(of("espalier_endpoints_unhealthy"), 1);
    assert.equal(of("espalier_endpoints_ejected"), 0, "requests had no part in it");
    assert.ok(of("espalier_health_checks_total", 'result="ok"') > 0);
    assert.ok(of("espalier_health_checks_total", 'result="failed"') >= 2);
    assert.equal(of("espalier_requests_total"), 0, "checks are no requests");

    one.statuses.set("", "SERVING");
    await untilSaid(plane, "+ SERVING", "+ SERVING");
    assert.equal((await plane.reports())[0]!.healthy, 2);
  });

  it("by gRPC: of one service, which is not known, or where nothing is known of health", async () => {
    const [known, unknown, without] = [
      await grpcServer(),
      await grpcServer(),
      await grpcServer(false),
    ];
    known.statuses.set("shop.Menu", "SERVING");
    const ports = [known.port, unknown.port, without.port];
    const { plane } = await start(checkedYaml("grpc: { service: shop.Menu }", ports, "grpc"));
    await untilSaid(
      plane,
      "+ SERVING",
      "- NOT_FOUND: does not know the service",
      "- UNIMPLEMENTED: has no grpc.health.v1",
    );
    assert.ok(known.asked.every((service) => service === "shop.Menu"));
  });

  it("by gRPC: a server that goes away, and one that speaks HTTP/1", async () => {
    const [one, old] = [await grpcServer(), await httpServer("old")];
    const { plane } = await start(checkedYaml("grpc: {}", [one.port, old.port], "grpc"));
    await until("both are known", async () => !(await verdicts(plane)).includes("unknown"));
    assert.equal((await verdicts(plane))[0], "+ SERVING");
    assert.match((await verdicts(plane))[1]!, /^- [a-z_]+$/);
    one.stop();
    await until("it is missed", async () => (await verdicts(plane))[0] === "- ECONNREFUSED");
  });

  it("by HTTP: requests go elsewhere before one of them has failed, and come back", async () => {
    const [one, two] = [await httpServer("one"), await httpServer("two")];
    const check = "http: { path: /healthz, expectedStatuses: [200, 404] }";
    const { plane, port } = await start(checkedYaml(check, [one.port, two.port]));
    one.status = 404;
    await untilSaid(plane, "+ HTTP 404", "+ HTTP 200");
    assert.deepEqual([...one.hosts], [`127.0.0.1:${one.port}`]);

    one.status = 503;
    await untilSaid(plane, "- HTTP 503", "+ HTTP 200");
    const before = one.requests;
    for (let i = 0; i < 40; i++) assert.equal((await get(port)).body, "two");
    assert.equal(one.requests, before);

    one.status = 200;
    await untilSaid(plane, "+ HTTP 200", "+ HTTP 200");
    await until("it is used again", async () => (await get(port)).body === "one");
  });

  it("by HTTP: when no endpoint is well they are used all the same", async () => {
    const one = await httpServer("one");
    one.status = 500;
    const { plane, port } = await start(checkedYaml("http: { path: /healthz }", [one.port]));
    await untilSaid(plane, "- HTTP 500");
    assert.deepEqual([(await get(port)).status, (await get(port)).body], [200, "one"]);
  });

  it("by HTTP: over few connections, which are left to requests", async () => {
    const one = await httpServer("one");
    let connections = 0;
    one.server.on("connection", () => connections++);
    const { port } = await start(checkedYaml("http: { path: /healthz }", [one.port]));
    for (let i = 0; i < 200; i++) assert.equal((await get(port)).body, "one");
    await until("it was asked often", () => one.asked >= 10);
    assert.ok(connections < one.asked / 2, String(connections));
  });

  it("by HTTP: a check never breaks a request that has the same connection after it", async () => {
    const one = await httpServer("one");
    // Longer than a check may take: each is running when the time of one that was before it on its connection is over.
    one.delayMs = 150;
    const check = "http: { path: /healthz }, timeout: 100ms";
    const { port } = await start(checkedYaml(check, [one.port]));
    await until("it was asked", () => one.asked >= 1);
    for (let round = 0; one.asked < 15; round++) {
      const answers = await Promise.all([get(port), get(port), get(port)]);
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200],
        `round ${round}`,
      );
    }
  });

  it("by TCP: a port that nobody listens on any more, and one that says something", async () => {
    const sockets = new Set<Socket>();
    let ended = 0;
    let reset = 0;
    const server = createNetServer((socket) => {
      sockets.add(socket);
      socket.write("220 ready\r\n");
      socket.resume();
      socket.on("end", () => ended++);
      socket.on("error", () => reset++);
      socket.on("close", () => sockets.delete(socket));
    });
    const listen = (port: number) =>
      new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    await listen(0);
    const { port } = server.address() as AddressInfo;
    closers.push(() => server.close());
    const { plane } = await start(checkedYaml("tcp: {}", [port]));
    await untilSaid(plane, "+ connected");
    await until("some have ended", () => ended >= 3);
    assert.equal(reset, 0, "each is closed in peace");
    await until("none is left open", () => sockets.size <= 1);
    await new Promise((resolve) => server.close(resolve));
    await untilSaid(plane, "- ECONNREFUSED");
    await listen(port);
    await untilSaid(plane, "+ connected");
  });

  it("by TCP: an endpoint that takes connections and says nothing is well; by HTTP it is not", async () => {
    const server = createNetServer((socket) => socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    closers.push(() => server.close());
    const byTcp = await start(checkedYaml("tcp: {}", [port]));
    await untilSaid(byTcp.plane, "+ connected");
    const byHttp = await start(checkedYaml("http: { path: / }", [port]));
    await untilSaid(byHttp.plane, "- timeout");
  });

  it("what is unhealthy here is not counted where others look for capacity", async () => {
    const [one, two] = [await httpServer("one"), await httpServer("two")];
    const yaml = `${checkedYaml("http: { path: /healthz }", [one.port, two.port])}---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
metadata: { name: origin }
`;
    const { resources } = parseResources(yaml, "f.yaml");
    const { plane } = await startPlane(compileStatic(resources));
    closers.push(() => plane.drain(0));
    const told = async () => {
      const reports = await plane.reports();
      const health = reports.map(
        ({ service, healthy }) => [service as ServiceName, { healthy, p50Ms: undefined }] as const,
      );
      const self = cluster("eu");
      const catalog: Catalog = {
        ...{ mesh: "acme.mesh" as MeshName, cluster: self, children: [], view: [], orders: [] },
        gateways: [{ address: "10.0.0.9", port: 9 }],
        own: ownServices(resources, self),
        health: new Map(health),
      };
      return upward(catalog).get("origin.default")!;
    };
    await untilSaid(plane, "+ HTTP 200", "+ HTTP 200");
    assert.deepEqual([(await told()).healthy, (await told()).total], [2, 2]);
    one.status = 500;
    await untilSaid(plane, "- HTTP 500", "+ HTTP 200");
    assert.deepEqual([(await told()).healthy, (await told()).total], [1, 2]);
    two.status = 500;
    await untilSaid(plane, "- HTTP 500", "- HTTP 500");
    assert.equal((await told()).healthy, 0, "others send nobody here");
  });

  it("a reload keeps what is known, and ends what is not wanted any more", async () => {
    const [one, two] = [await httpServer("one"), await httpServer("two")];
    one.status = 500;
    const yaml = checkedYaml("http: { path: /healthz }", [one.port, two.port]);
    const { plane, port } = await start(yaml);
    await untilSaid(plane, "- HTTP 500", "+ HTTP 200");
    plane.apply(snapshotOf(yaml.replace(`port: ${one.port}`, `port: ${one.port}, weight: 2`)));
    assert.deepEqual(await verdicts(plane), ["- HTTP 500", "+ HTTP 200"]);
    for (let i = 0; i < 20; i++) assert.equal((await get(port)).body, "two");

    plane.apply(snapshotOf(yaml.replace(/ {2}healthCheck: .*\n/, "")));
    assert.deepEqual(await verdicts(plane), ["unknown", "unknown"]);
    await until("it is used", async () => (await get(port)).body === "one");
    const text = await plane.metricsText();
    assert.ok(!text.includes("espalier_health_checks_total{"));
  });
});
