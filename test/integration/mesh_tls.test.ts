import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect as connectTcp, createServer as createNetServer } from "node:net";
import { after, before, describe, it } from "node:test";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { type Identity, RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId, gatewayId, type SpiffeId, workloadId } from "#certs/identity/spiffe_id.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls, serverTls } from "#certs/workload/tls.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { inboundSnapshot } from "#proxy/app/sidecar.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf } from "#test/kit/proxy.ts";
import { countedBody, readSlowly, sendCounted } from "#test/kit/slow_reader.ts";

const EU = cluster("eu");
const US = cluster("us");

/** What a proxy says to whom it lets in, and who asks for nothing that there is. */
const HEARD = "HTTP/1.1 404 Not Found";

describe("mTLS between proxies", { timeout: 30_000 }, () => {
  const tree = new TestTree();
  const planes: LocalPlane[] = [];
  let gateway: { port: number; id: SpiffeId; identity: RotatingIdentity };
  let sidecar: { port: number; id: SpiffeId; identity: RotatingIdentity };

  /** A proxy of `EU` with one MESH listener. */
  function start(id: SpiffeId) {
    const listener = { name: "mesh", address: "127.0.0.1", port: 0, protocol: "MESH" };
    const content = { revision: "1", mesh: MESH, cluster: EU, listeners: [listener], routes: [] };
    return startWith(id, must(parseSnapshot({ ...content, services: [] }, "test")));
  }

  async function startWith(id: SpiffeId, snapshot: Snapshot, of = EU) {
    const identity = new RotatingIdentity(await tree.identity(id, of));
    const plane = new LocalPlane({
      cluster: of,
      clock: systemClock,
      rng: seededRng(1),
      log: new MemoryLogger(),
      identity,
      reusePort: false,
    });
    planes.push(plane);
    plane.apply(snapshot);
    const [status] = await plane.settled();
    return { port: status!.bound!.port, id, identity };
  }

  before(async () => {
    gateway = await start(gatewayId(EU));
    sidecar = await start(workloadId(EU, "shop", "menu"));
  });
  after(() => Promise.all(planes.map((plane) => plane.drain(0))));

  /** A connection as `who`; undefined if it ends without a word. */
  function dial(who: Identity, to: { port: number; id: SpiffeId }, expected = to.id): TLSSocket {
    const verifier = new PeerVerifier(who.rootsPem, systemClock);
    const options = clientTls(who, verifier, expected);
    const socket = connectTls({ ...options, port: to.port, host: "127.0.0.1" });
    socket.on("error", () => {});
    return socket;
  }

  /** The status line of its answer; empty: it has ended without one. */
  function ask(socket: TLSSocket): Promise<string> {
    return new Promise((resolve) => {
      let said = "";
      socket.on("data", (chunk) => {
        said += chunk.toString();
        if (said.includes("\r\n\r\n")) resolve(said.split("\r\n", 1)[0]!);
      });
      socket.on("close", () => resolve(said));
      socket.write(`GET / HTTP/1.1\r\nhost: ${EU}\r\n\r\n`);
    });
  }

  const cases: ReadonlyArray<
    readonly [string, (of: typeof cluster) => [SpiffeId, ClusterName], boolean, boolean]
  > = [
    ["its own gateway", (of) => [gatewayId(of("eu")), of("eu")], true, true],
    ["its own workload", (of) => [workloadId(of("eu"), "shop", "till"), of("eu")], true, true],
    ["a sibling's gateway", (of) => [gatewayId(of("us")), of("us")], true, false],
    ["the core's gateway", (of) => [gatewayId(of("core")), of("core")], true, false],
    ["a child's gateway", (of) => [gatewayId(of("store-1.eu")), of("store-1.eu")], true, false],
    [
      "a sibling's workload",
      (of) => [workloadId(of("us"), "shop", "menu"), of("us")],
      false,
      false,
    ],
    [
      "a child's control service",
      (of) => [controlId(of("store-1.eu")), of("store-1.eu")],
      false,
      false,
    ],
  ];
  for (const [who, make, toGateway, toSidecar] of cases) {
    it(`lets ${who} ${toGateway ? "to" : "not to"} a gateway, ${toSidecar ? "and" : "but not"} to a sidecar`, async () => {
      const [id, of] = make(cluster);
      const identity = await tree.identity(id, of);
      for (const [place, may] of [
        [gateway, toGateway],
        [sidecar, toSidecar],
      ] as const) {
        const socket = dial(identity, place);
        assert.equal(await ask(socket), may ? HEARD : "", place.id);
        socket.destroy();
      }
    });
  }

  it("sends not a byte to anybody but the one who is expected", async () => {
    const identity = await tree.identity(gatewayId(cluster("us")), cluster("us"));
    const socket = dial(identity, gateway, gatewayId(cluster("core")));
    let secured = false;
    socket.on("secureConnect", () => {
      secured = true;
    });
    assert.equal(await ask(socket), "");
    assert.equal(secured, false);
  });

  it("takes no stranger's root for ours", async () => {
    const other = new TestTree();
    const identity = await other.identity(gatewayId(EU), EU);
    assert.equal(await ask(dial(identity, gateway)), "");
  });

  it("never resumes a session", async () => {
    const identity = await tree.identity(gatewayId(EU), EU);
    let session: Buffer | undefined;
    const first = dial(identity, gateway);
    first.on("session", (ticket) => {
      session = ticket;
    });
    await ask(first);
    first.destroy();
    const verifier = new PeerVerifier(identity.rootsPem, systemClock);
    const again = connectTls({
      ...clientTls(identity, verifier, gateway.id),
      port: gateway.port,
      host: "127.0.0.1",
      ...(session === undefined ? {} : { session }),
    });
    assert.match(await ask(again), /404/);
    assert.equal(again.isSessionReused(), false);
    again.destroy();
  });

  it("takes up a new identity for new connections and keeps the old ones", async () => {
    const identity = await tree.identity(gatewayId(EU), EU);
    const old = dial(identity, gateway);
    assert.match(await ask(old), /404/);
    const before = old.getPeerX509Certificate()!.serialNumber;
    gateway.identity.rotate(await tree.identity(gatewayId(EU), EU));
    const fresh = dial(identity, gateway);
    assert.match(await ask(fresh), /404/);
    assert.notEqual(fresh.getPeerX509Certificate()!.serialNumber, before);
    assert.match(await ask(old), /404/);
    old.destroy();
    fresh.destroy();
  });

  it("delivers an answer that ends with its connection to the end, however slowly it is read", async () => {
    const body = countedBody(3_000_000);
    const origin = createNetServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.end(body);
      });
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const { port } = origin.address() as AddressInfo;
    const id = workloadId(EU, "shop", "until-close");
    const inner = await startWith(id, inboundTo(port));
    const outer = await startWith(gatewayId(EU), throughSidecar(inner.port, id));
    const about = { path: "/", host: "large.shop.svc.acme.mesh" };
    await Promise.all([1, 2, 3].map(() => readSlowly(outer.port, body, about)));
    origin.close();
  });

  it("goes on over new connections when its own identity is renewed, and loses nothing", async () => {
    const body = countedBody(3_000_000);
    const origin = createServer((asked, answer) => sendCounted(body, asked, answer));
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const id = workloadId(EU, "shop", "renewed");
    const inner = await startWith(id, inboundTo((origin.address() as AddressInfo).port));
    const served = planes.at(-1)!;
    const outer = await startWith(gatewayId(EU), throughSidecar(inner.port, id));
    const accepted = async (): Promise<number> =>
      counterOf(await served.metricsText(), "espalier_connections_accepted_total");
    const about = { path: "/length", host: "large.shop.svc.acme.mesh" };
    const slow = [readSlowly(outer.port, body, about), readSlowly(outer.port, body, about)];
    await until("it is on its way", async () => (await accepted()) > 0);
    const before = await accepted();
    outer.identity.rotate(await tree.identity(gatewayId(EU), EU));
    await readSlowly(outer.port, body, about);
    assert.ok((await accepted()) > before);
    await Promise.all(slow);
    origin.closeAllConnections();
    origin.close();
  });

  it("finds nobody who speaks no HTTP/2", async () => {
    const id = workloadId(EU, "shop", "old");
    const server = createTlsServer(serverTls(await tree.identity(id, EU)), (socket) => {
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const outer = await startWith(gatewayId(EU), throughSidecar(port, id));
    const said = await new Promise<string>((resolve) => {
      const socket = connectTcp(outer.port, "127.0.0.1");
      socket.write("GET / HTTP/1.1\r\nHost: large.shop.svc.acme.mesh\r\n\r\n");
      socket.once("data", (chunk) => {
        resolve(chunk.toString());
        socket.destroy();
      });
    });
    assert.match(said, /^HTTP\/1\.1 503 [\s\S]*error=tls_certificate_error/);
    server.close();
  });

  it("passes a connection on to another cluster, which knows who the client is", async () => {
    const heard: string[] = [];
    const origin = createNetServer((socket) => {
      socket.on("data", (chunk) => {
        heard.push(chunk.toString());
        socket.write("pong");
      });
      socket.on("end", () => socket.end());
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const { port } = origin.address() as AddressInfo;
    const far = await startWith(gatewayId(US), tcpAt(US, { port }), US);
    const near = await startWith(gatewayId(EU), tcpAt(EU, { port: far.port, gateway: far.id }));
    const client = connectTcp(near.port, "127.0.0.1");
    client.write("ping");
    const [answer] = (await once(client, "data")) as [Buffer];
    assert.equal(String(answer), "pong");
    const line = `PROXY TCP4 127.0.0.1 127.0.0.1 ${client.localPort} ${port}\r\n`;
    assert.equal(heard.join(""), `${line}ping`);
    client.end();
    await once(client, "close");
    // A gateway may ask for a connection only where one is to be had, and a client may not at all.
    const dialled = dial(await tree.identity(gatewayId(EU), EU), far);
    dialled.write(
      `GET / HTTP/1.1\r\nhost: db\r\nx-mesh-service: db.shop\r\nx-mesh-path: ${EU}\r\n\r\n`,
    );
    const [refused] = (await once(dialled, "data")) as [Buffer];
    assert.match(String(refused), /^HTTP\/1\.1 403 /);
    dialled.destroy();
    origin.close();
  });

  it("delivers every byte in its place through two proxies and mTLS", async () => {
    const body = countedBody(8_000_000);
    const origin = createServer((asked, answer) => sendCounted(body, asked, answer));
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const id = workloadId(EU, "shop", "large");
    const inner = await startWith(id, inboundTo((origin.address() as AddressInfo).port));
    const outer = await startWith(gatewayId(EU), throughSidecar(inner.port, id));
    const host = "large.shop.svc.acme.mesh";
    const paths = ["/length", "/chunked", "/pieces"];
    await Promise.all(paths.map((path) => readSlowly(outer.port, body, { path, host })));
    origin.closeAllConnections();
    origin.close();
  });
});

/** A cluster that takes connections at `http`, or passes them on to `next`. */
function tcpAt(of: ClusterName, place: { port: number; gateway?: SpiffeId }): Snapshot {
  const { port, gateway } = place;
  const identity = gateway === undefined ? {} : { identity: gateway };
  const listener =
    gateway === undefined
      ? { name: "in", address: "127.0.0.1", port: 0, protocol: "MESH" }
      : { name: "in", address: "127.0.0.1", port: 0, protocol: "TCP" };
  const kind = gateway === undefined ? "local" : "sibling";
  const endpoints = [{ address: "127.0.0.1", port, ...identity }];
  const locales = [{ kind, cluster: gateway === undefined ? of : US, endpoints, healthy: 1 }];
  const backends = [{ service: "db.shop", weight: 1 }];
  const service = { name: "db.shop", port: 80, appProtocol: "tcp", proxyProtocol: "v1", locales };
  return must(
    parseSnapshot(
      {
        ...{ revision: "1", mesh: MESH, cluster: of, listeners: [listener], routes: [] },
        streamRoutes: [{ name: "db", listeners: ["in"], hostnames: [], backends }],
        services: [service],
      },
      "test",
    ),
  );
}

/** What the sidecar of an application at `port` does. */
function inboundTo(port: number): Snapshot {
  const listen = { address: "127.0.0.1", port: 0 };
  const app = { address: "127.0.0.1", port };
  const service = "large.shop" as ServiceName;
  return inboundSnapshot({ mesh: MESH, cluster: EU, service, listen, app }, undefined);
}

/** A plain listener, and one service behind a sidecar that must prove `id`. */
function throughSidecar(port: number, identity: SpiffeId): Snapshot {
  const endpoints = [{ address: "127.0.0.1", port, identity }];
  return must(
    parseSnapshot(
      {
        revision: "1",
        mesh: MESH,
        cluster: EU,
        listeners: [{ name: "http", address: "127.0.0.1", port: 0, protocol: "HTTP" }],
        routes: [],
        services: [
          {
            name: "large.shop",
            port: 80,
            appProtocol: "http",
            locales: [{ kind: "local", cluster: EU, endpoints, healthy: 1 }],
          },
        ],
      },
      "test",
    ),
  );
}
