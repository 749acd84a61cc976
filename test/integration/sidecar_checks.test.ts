import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { after, describe, it } from "node:test";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { gatewayId, type SpiffeId, workloadId } from "#certs/identity/spiffe_id.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ServiceName } from "#model/names.ts";
import { parseSnapshot, type Service, type Snapshot } from "#model/snapshot.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { inboundSnapshot } from "#proxy/app/sidecar.ts";
import { GrpcHealthServer } from "#test/kit/grpc_health.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";

const EU = cluster("eu");
const PLACE = { address: "127.0.0.1", port: 0 };
const SERVICE = "menu.shop" as ServiceName;
const QUICK = { intervalMs: 100, timeoutMs: 100, unhealthyThreshold: 2, healthyThreshold: 2 };

describe("health checks of a workload behind a sidecar", { timeout: 30_000 }, () => {
  const tree = new TestTree();
  const planes: LocalPlane[] = [];
  const sidecar = workloadId(EU, "shop", "menu");
  after(async () => {
    for (const plane of planes) await plane.drain(0);
  });

  async function start(id: SpiffeId, snapshot: Snapshot) {
    const identity = new RotatingIdentity(await tree.identity(id, EU));
    const ports = { clock: systemClock, rng: seededRng(1), log: new MemoryLogger() };
    const plane = new LocalPlane({ cluster: EU, ...ports, identity, reusePort: false });
    planes.push(plane);
    plane.apply(snapshot);
    const [status] = await plane.settled();
    return { plane, port: status?.bound?.port ?? 0 };
  }

  /** A gateway that checks the one endpoint of a service, whose sidecar is before `app`. */
  async function checking(about: Partial<Service>, app: number): Promise<LocalPlane> {
    const said = { name: SERVICE, port: 80, exported: true, locales: [], ...about } as Service;
    const own = { mesh: MESH, cluster: EU, service: SERVICE, listen: PLACE };
    const inbound = inboundSnapshot({ ...own, app: { ...PLACE, port: app } }, said);
    const { port } = await start(sidecar, inbound);
    const endpoints = [{ ...PLACE, port, identity: sidecar }];
    const locales = [{ kind: "local", cluster: EU, endpoints, healthy: 1 }];
    const gateway = parseSnapshot(
      {
        ...{ revision: "1", mesh: MESH, cluster: EU, listeners: [], routes: [] },
        services: [{ ...said, locales }],
      },
      "test",
    );
    return (await start(gatewayId(EU), must(gateway))).plane;
  }

  async function untilSaid(plane: LocalPlane, wanted: string): Promise<void> {
    let said = "";
    const tell = async (): Promise<boolean> => {
      const [own] = await plane.inventory();
      const check = own!.services[0]!.endpoints[0]!.check;
      said = check === null ? "" : `${check.healthy ? "+" : "-"} ${check.reason}`;
      return said === wanted;
    };
    await until(wanted, tell).catch((error: Error) => {
      throw new Error(`${error.message}; it is: ${said}`);
    });
  }

  it("by gRPC, over mTLS: its own word, and that it is gone", async () => {
    const server = new GrpcHealthServer();
    const healthCheck = { grpc: { service: "" }, ...QUICK };
    const plane = await checking(
      { appProtocol: "kubernetes.io/h2c", healthCheck },
      await server.start(),
    );
    await untilSaid(plane, "+ SERVING");
    server.statuses.set("", "NOT_SERVING");
    await untilSaid(plane, "- NOT_SERVING");
    server.statuses.set("", "SERVING");
    await untilSaid(plane, "+ SERVING");
    server.stop();
    await untilSaid(plane, "- HTTP 503");
  });

  it("by a connection, which its sidecar makes", async () => {
    const said: string[] = [];
    const sockets = new Set<Socket>();
    const server: Server = createServer((socket) => {
      sockets.add(socket);
      socket.on("data", (chunk) => said.push(chunk.toString()));
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const about = { appProtocol: "tcp", proxyProtocol: "v1" } as const;
    const plane = await checking({ ...about, healthCheck: { tcp: {}, ...QUICK } }, port);
    await untilSaid(plane, "+ connected");
    await until("none is left open", () => said.length >= 3 && sockets.size <= 1);
    assert.deepEqual([...new Set(said)], ["PROXY UNKNOWN\r\n"]);
    await new Promise((resolve) => server.close(resolve));
    await untilSaid(plane, "- HTTP 503");
  });
});
