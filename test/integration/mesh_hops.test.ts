import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
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

const EU = cluster("eu");
const EDGE = cluster("store-1.eu");

/** What an endpoint has seen of a request that concerns the mesh. */
type Seen = Record<string, unknown>;

describe("two gateways with mTLS between them", { timeout: 60_000 }, () => {
  const tree = new TestTree();
  const planes: LocalPlane[] = [];
  const origins: Server[] = [];
  const seen: Seen[] = [];
  let port = 0;

  const base = { revision: "1", mesh: MESH };
  const service = {
    ...{ name: "menu.shop", port: 80, appProtocol: "http" },
    replication: { primary: EU, epoch: 3, replicas: [EU], maxStalenessMs: 5_000 },
  };
  const routes = [
    {
      ...{ name: "all", listeners: ["in"], hostnames: ["shop.example"] },
      rules: [
        {
          matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [], queries: [] }],
          backends: [{ service: "menu.shop" }],
          persistence: { type: "Header", name: "seat", permanent: false },
        },
      ],
    },
  ];

  async function start(of: ClusterName, content: object): Promise<number> {
    const identity = new RotatingIdentity(await tree.identity(gatewayId(of), of));
    const [clock, rng, log] = [systemClock, seededRng(1), new MemoryLogger()];
    const plane = new LocalPlane({ cluster: of, clock, rng, log, identity, reusePort: false });
    planes.push(plane);
    plane.apply(must(parseSnapshot({ ...base, cluster: of, ...content }, "test")));
    return (await plane.settled())[0]!.bound!.port;
  }

  before(async () => {
    for (let i = 0; i < 4; i++) {
      const origin = createServer((request, response) => {
        seen.push(request.headers);
        response.setHeader("x-served-by", String(i));
        response.end();
      });
      await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
      origins.push(origin);
    }
    const endpoints = origins.map((origin) => ({
      ...{ address: "127.0.0.1", port: (origin.address() as AddressInfo).port },
    }));
    const local = { kind: "local", cluster: EU, endpoints, healthy: 4, stalenessMs: 0 };
    const mesh = await start(EU, {
      listeners: [{ name: "mesh", address: "127.0.0.1", port: 0, protocol: "MESH" }],
      ...{ routes: [], services: [{ ...service, locales: [local] }] },
    });
    const way = { address: "127.0.0.1", port: mesh, identity: gatewayId(EU) };
    const parent = { kind: "parent", cluster: EU, endpoints: [way], healthy: 4, stalenessMs: 0 };
    const rules = { debugFrom: ["127.0.0.0/8"] };
    port = await start(EDGE, {
      listeners: [{ name: "in", address: "127.0.0.1", port: 0, protocol: "HTTP", rules }],
      ...{ routes, services: [{ ...service, locales: [parent] }] },
    });
  });
  after(async () => {
    await Promise.all(planes.map((plane) => plane.drain(0)));
    for (const origin of origins) origin.close();
  });

  const ask = (headers: Record<string, string> = {}, method = "GET") =>
    get(port, { method, headers: { host: "shop.example", ...headers } });

  it("keep a session at its endpoint", async () => {
    const served = new Set<unknown>();
    for (let i = 0; i < 12; i++) {
      const first = await ask();
      served.add(first.headers["x-served-by"]);
      const again = await ask({ seat: String(first.headers["seat"]) });
      assert.equal(again.headers["x-served-by"], first.headers["x-served-by"]);
      assert.equal(again.headers["seat"], undefined);
    }
    assert.ok(served.size > 1);
  });

  it("tell a write's endpoint its epoch, and its client when it wrote", async () => {
    seen.length = 0;
    const wrote = await ask({ "espalier-primary-epoch": "99" }, "POST");
    assert.equal(wrote.status, 200);
    assert.equal(seen[0]!["espalier-primary-epoch"], "3");
    assert.match(String(wrote.headers["espalier-written"]), /^[0-9a-z]+$/);
    const read = await ask({ "espalier-written": String(wrote.headers["espalier-written"]) });
    assert.equal(read.status, 200);
    assert.equal(seen[1]!["espalier-primary-epoch"], undefined);
  });

  it("tell which way a request went, each its own part", async () => {
    const met = await ask({ "espalier-debug": "route" });
    const parts = String(met.headers["espalier-route"]).split(" | ");
    assert.deepEqual(
      parts.map((part) => part.split(" ")[0]),
      [EDGE, EU],
    );
    assert.match(parts[1]!, /=200 in [0-9.]+ ms$/);
  });

  it("let nothing of theirs out", async () => {
    seen.length = 0;
    const met = await ask({ "x-mesh-session": "new", "x-mesh-debug": "route" });
    const told = [...Object.keys(met.headers), ...Object.keys(seen[0]!)];
    assert.deepEqual(
      told.filter((name) => name.startsWith("x-mesh-")),
      [],
    );
    assert.equal(met.headers["espalier-route"], undefined);
  });
});
