import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, it } from "node:test";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { gatewayId } from "#certs/identity/spiffe_id.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { get } from "#test/kit/http.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";
import { RawClient } from "#test/kit/raw.ts";

const EU = cluster("eu");
const EDGE = cluster("store-1.eu");
const ORIGINS = 3;

/** An endpoint that answers as the test says. */
interface Origin {
  readonly server: Server;
  readonly port: number;
  answer: (request: IncomingMessage, response: ServerResponse) => void;
  asked: number;
  /** Requests whose connection ended before they were answered. */
  cancelled: number;
}

async function startOrigin(name: number): Promise<Origin> {
  const say = (_: IncomingMessage, response: ServerResponse): void => {
    response.end();
  };
  const server = createServer((request, response) => {
    origin.asked++;
    response.setHeader("x-served-by", String(name));
    response.on("close", () => {
      if (!response.writableFinished) origin.cancelled++;
    });
    origin.answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const origin: Origin = { server, port, answer: say, asked: 0, cancelled: 0 };
  return origin;
}

describe("routing between two gateways with mTLS", { timeout: 60_000 }, () => {
  const tree = new TestTree();
  const origins: Origin[] = [];
  const planes = new Map<ClusterName, LocalPlane>();
  let revision = 0;
  let meshPort = 0;
  let port = 0;

  before(async () => {
    for (let i = 0; i < ORIGINS; i++) origins.push(await startOrigin(i));
    for (const name of [EU, EDGE]) {
      const identity = new RotatingIdentity(await tree.identity(gatewayId(name), name));
      const [clock, rng, log] = [systemClock, seededRng(1), new MemoryLogger()];
      const plane = new LocalPlane({ cluster: name, clock, rng, log, identity, reusePort: false });
      planes.set(name, plane);
    }
  });
  after(async () => {
    await Promise.all(Array.from(planes.values(), (plane) => plane.drain(0)));
    for (const { server } of origins) {
      server.closeAllConnections();
      server.close();
    }
  });
  beforeEach(() => {
    for (const origin of origins) {
      origin.asked = 0;
      origin.cancelled = 0;
      origin.answer = (_, response) => response.end();
    }
  });

  async function apply(of: ClusterName, listener: object, service: object): Promise<number> {
    const plane = planes.get(of)!;
    const routes = [
      {
        ...{ name: "all", listeners: ["in"], hostnames: [] },
        rules: [
          {
            matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [], queries: [] }],
            backends: [{ service: "menu.shop" }],
          },
        ],
      },
    ];
    const content = {
      ...{ revision: String(++revision), mesh: MESH, cluster: of, routes },
      listeners: [{ name: "in", address: "127.0.0.1", port: 0, protocol: "HTTP", ...listener }],
      services: [{ name: "menu.shop", port: 80, appProtocol: "http", ...service }],
    };
    plane.apply(must(parseSnapshot(content, "test")));
    return (await plane.settled())[0]!.bound!.port;
  }

  /** What EU knows: these of the origins are its own. */
  async function applyEu(ports: readonly number[], more: object = {}): Promise<void> {
    const endpoints = ports.map((one) => ({ address: "127.0.0.1", port: one }));
    const local = { kind: "local", cluster: EU, endpoints, healthy: ports.length, stalenessMs: 0 };
    meshPort = await apply(EU, { name: "mesh", protocol: "MESH" }, { locales: [local], ...more });
  }

  /** What the edge knows: EU, and these of its own. */
  async function applyEdge(ports: readonly number[], more: object = {}): Promise<void> {
    const own = ports.map((one) => ({ address: "127.0.0.1", port: one }));
    const way = { address: "127.0.0.1", port: meshPort, identity: gatewayId(EU) };
    const locales = [
      { kind: "local", cluster: EDGE, endpoints: own, healthy: ports.length },
      { kind: "parent", cluster: EU, endpoints: [way], healthy: 1, stalenessMs: 0 },
    ];
    port = await apply(EDGE, {}, { locales, ...more });
  }

  const served = (answer: { headers: Record<string, unknown> }) => answer.headers["x-served-by"];

  it("never serves outside of its fence, though others could", async () => {
    await applyEu(origins.map((one) => one.port));
    const policy = { places: { mustStayIn: EDGE } };
    await applyEdge([], { policy });
    const gone = await get(port, { path: "/" });
    assert.deepEqual([gone.status, gone.body], [503, "503 fenced\n"]);
    const dead = await startOrigin(9);
    dead.server.close();
    await applyEdge([dead.port], { policy });
    for (let i = 0; i < 20; i++) {
      const { status, body } = await get(port, { path: "/" });
      assert.deepEqual([status, body], [503, "503 connect_refused\n"]);
    }
    assert.equal(
      origins.reduce((sum, { asked }) => sum + asked, 0),
      0,
    );
    await applyEdge([dead.port]);
    assert.equal((await get(port, { path: "/" })).status, 200, "without the fence they do");
  });

  it("hedges what is slow: all answers come from others, and what is slow is cancelled", async () => {
    await applyEu([]);
    const policy = { hedging: { percentile: 95, minDelayMs: 20 } };
    await applyEdge(
      origins.map((one) => one.port),
      { policy },
    );
    for (let i = 0; i < 60; i++) await get(port, { path: "/" });
    const [slow] = origins;
    assert.ok(slow!.asked > 0);
    slow!.answer = () => {};
    slow!.asked = 0;
    for (let i = 0; i < 100; i++) {
      const answer = await get(port, { path: "/" });
      assert.equal(answer.status, 200);
      assert.notEqual(served(answer), "0");
    }
    assert.ok(slow!.asked > 0, "it was tried");
    await until("nothing of it is left", () => slow!.cancelled === slow!.asked);
  });

  it("leads a key to the same endpoint of another cluster, and moves only those of one that goes", async () => {
    const policy = {
      balance: { algorithm: "RingHash", hashOn: { type: "Header", name: "x-user" } },
    };
    const ports = origins.map((one) => one.port);
    await applyEu(ports, { policy });
    await applyEdge([], { policy });
    const owners = async (): Promise<unknown[]> => {
      const found: unknown[] = [];
      for (let key = 0; key < 40; key++) {
        const answer = await get(port, { path: "/", headers: { "x-user": `user-${key}` } });
        assert.equal(answer.status, 200);
        found.push(served(answer));
      }
      return found;
    };
    const before = await owners();
    assert.equal(new Set(before).size, ORIGINS);
    assert.deepEqual(await owners(), before);
    await applyEu(ports.slice(1), { policy });
    const now = await owners();
    before.forEach((owner, key) => {
      if (owner === "0") assert.notEqual(now[key], "0", `key ${key}`);
      else assert.equal(now[key], owner, `key ${key}`);
    });
  });

  it("uses a load report in the trailers of HTTP/1.1 and keeps it from the client", async () => {
    await applyEu([origins[0]!.port]);
    await applyEdge([]);
    origins[0]!.answer = (_, response) => {
      response.setHeader("trailer", "endpoint-load-metrics, x-sum");
      response.write("menu");
      response.addTrailers({
        "endpoint-load-metrics": "TEXT cpu_utilization=0.5,rps_fractional=80",
        "x-sum": "42",
      });
      response.end();
    };
    const client = new RawClient(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n");
    const text = await client.rest();
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.match(text, /\r\nx-sum: 42\r\n/);
    assert.doesNotMatch(text, /cpu_utilization/);
    const metrics = await planes.get(EU)!.metricsText();
    assert.match(metrics, /^espalier_load_reports_total\{[^}]*result="read"\} 1$/m);
    const atEdge = await planes.get(EDGE)!.metricsText();
    assert.doesNotMatch(atEdge, /^espalier_load_reports_total\{[^}]*result="read"\} 1$/m);
  });

  it("passes a replica over while its data is too old, and takes it again without a request to it", async () => {
    let staleMs = 0;
    const [replica, primary] = origins;
    replica!.answer = (_, response) => {
      response.setHeader("endpoint-load-metrics", `TEXT named_metrics.staleness_ms=${staleMs}`);
      response.end();
    };
    // So that the replica is the cheaper one where both may serve.
    primary!.answer = (_, response) => void setTimeout(() => response.end(), 30);
    const replicas = [EDGE, EU];
    const replication = { primary: EU, replicas, maxStalenessMs: 5_000, epoch: 1 };
    const http = { path: "/health", statuses: [{ from: 200, to: 299 }] };
    const times = { intervalMs: 50, timeoutMs: 1_000 };
    const healthCheck = { ...times, unhealthyThreshold: 2, healthyThreshold: 1, http };
    await applyEu([primary!.port], { replication });
    await applyEdge([replica!.port], { replication, healthCheck });
    const served = async (): Promise<unknown> => {
      const answer = await get(port, { path: "/" });
      assert.equal(answer.status, 200);
      return answer.headers["x-served-by"];
    };
    await until("the replica serves", async () => (await served()) === "0");
    for (const [ms, who] of [
      [10_000, "1"],
      [100, "0"],
    ] as const) {
      staleMs = ms;
      await until(`${ms} ms old: it is served by ${who}`, async () => (await served()) === who);
      await until("it is reported", async () => {
        const [report] = await planes.get(EDGE)!.reports();
        return Math.abs((report!.stalenessMs ?? 0) - ms) < 3_000;
      });
    }
  });

  it("refuses a write of an epoch that is over, and serves reads", async () => {
    const replication = { primary: EU, replicas: [EU], maxStalenessMs: 5_000 };
    await applyEu([origins[0]!.port], { replication: { ...replication, epoch: 2 } });
    await applyEdge([], { replication: { ...replication, epoch: 1 } });
    const write = await get(port, { path: "/", method: "POST" });
    assert.deepEqual([write.status, write.body], [503, "503 not_primary\n"]);
    assert.equal(origins[0]!.asked, 0);
    assert.equal((await get(port, { path: "/" })).status, 200);
    await applyEdge([], { replication: { ...replication, epoch: 2 } });
    assert.equal((await get(port, { path: "/", method: "POST" })).status, 200);
  });
});
