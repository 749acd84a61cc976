import type { ChannelOptions } from "@grpc/grpc-js";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { gatewayId } from "#certs/identity/spiffe_id.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import { serverCertificate } from "#test/kit/certificates.ts";
import { EchoClient } from "#test/kit/grpc_echo.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";

/* The ways that a gRPC call can take through us. */

/** How a client comes to the service. */
export const WAYS = ["h2c", "TLS", "the gateways of two clusters"] as const;
export type Way = (typeof WAYS)[number];

const NEAR = cluster("eu");
const FAR = cluster("us");
const LOCAL = { address: "127.0.0.1" };

/** A way that is open. */
export interface OpenWay {
  /** Of the first proxy, which clients connect to. */
  readonly plane: LocalPlane;
  readonly port: number;
  /** A client with a connection of its own. */
  client(options?: ChannelOptions): EchoClient;
  close(): Promise<void>;
}

/** Opens one to servers at these ports of this machine. */
export async function openWay(way: Way, ports: readonly number[]): Promise<OpenWay> {
  const endpoints = ports.map((port) => ({ ...LOCAL, port }));
  const clients: EchoClient[] = [];
  const planes: LocalPlane[] = [];
  const pem = await serverCertificate("localhost");
  let first = snapshotOf(NEAR, listenerOf(way, pem), "local", endpoints);
  const tree = new TestTree();
  if (way === "the gateways of two clusters") {
    const mesh = { ...LOCAL, name: "in", port: 0, protocol: "MESH" };
    const far = await start(snapshotOf(FAR, mesh, "local", endpoints), tree);
    planes.push(far.plane);
    const gateways = [{ ...LOCAL, port: far.port, identity: gatewayId(FAR) }];
    first = snapshotOf(NEAR, listenerOf(way, pem), "sibling", gateways);
  }
  const near = await start(first, tree);
  planes.unshift(near.plane);
  return {
    ...near,
    client(options = {}) {
      const root = way === "TLS" ? pem.certificate : undefined;
      const name = way === "TLS" ? { "grpc.ssl_target_name_override": "localhost" } : {};
      const made = new EchoClient(`127.0.0.1:${near.port}`, root, { ...name, ...options });
      clients.push(made);
      return made;
    },
    async close() {
      for (const client of clients) client.close();
      for (const plane of planes) await plane.drain(0);
    },
  };
}

async function start(snapshot: Snapshot, tree: TestTree) {
  const of = snapshot.cluster as ClusterName;
  const identity = new RotatingIdentity(await tree.identity(gatewayId(of), of));
  const ports = { clock: systemClock, rng: seededRng(1), log: new MemoryLogger() };
  const plane = new LocalPlane({ cluster: of, ...ports, identity, reusePort: false });
  plane.apply(snapshot);
  const [status] = await plane.settled();
  return { plane, port: status!.bound!.port };
}

function listenerOf(way: Way, pem: { readonly certificate: string; readonly key: string }): object {
  const place = { ...LOCAL, name: "in", port: 0 };
  if (way !== "TLS") return { ...place, protocol: "HTTP" };
  return { ...place, protocol: "HTTPS", certificates: [{ ...pem, from: "pem", name: "own" }] };
}

function snapshotOf(
  of: ClusterName,
  listener: object,
  kind: "local" | "sibling",
  endpoints: ReadonlyArray<object>,
): Snapshot {
  const locale = { kind, cluster: kind === "local" ? of : FAR, endpoints };
  const service = { name: "echo.shop", port: 80, appProtocol: "kubernetes.io/h2c" };
  const match = { path: { type: "PathPrefix", value: "/espalier.test.Echo/" } };
  const rule = { matches: [match], backends: [{ service: "echo.shop" }] };
  return must(
    parseSnapshot(
      {
        ...{ revision: "1", mesh: MESH, cluster: of, listeners: [listener] },
        routes: [{ name: "calls", listeners: ["in"], hostnames: [], rules: [rule] }],
        services: [{ ...service, locales: [{ ...locale, healthy: endpoints.length }] }],
      },
      "test",
    ),
  );
}
