import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { Listener, Service, Snapshot } from "#model/snapshot.ts";

/** What a sidecar is told of its workload. */
export interface SidecarInbound {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  readonly service: ServiceName;
  /** Where the mesh reaches the workload: the address that the service's endpoint names. */
  readonly listen: { readonly address: string; readonly port: number };
  /** The workload itself, beside us. */
  readonly app: { readonly address: string; readonly port: number };
}

/**
 * The inbound half of a sidecar: mTLS from the mesh in, plain text to the one workload.
 * @param said of the workload's service by the control service: what the workload speaks, and how many connections it
 *   bears. Checks of health are left to those who can choose another endpoint. Undefined: HTTP/1.1.
 */
export function inboundSnapshot(inbound: SidecarInbound, said: Service | undefined): Snapshot {
  const { appProtocol = "http", proxyProtocol, connections } = said ?? {};
  const listener: Listener = {
    name: "inbound",
    protocol: "MESH",
    certificates: [],
    ...inbound.listen,
  };
  return {
    revision: `inbound ${JSON.stringify([appProtocol, proxyProtocol, connections])}`,
    mesh: inbound.mesh,
    cluster: inbound.cluster,
    listeners: [listener],
    routes: [
      {
        name: "inbound",
        listeners: [listener.name],
        hostnames: [],
        rules: [
          {
            matches: [
              { path: { type: "PathPrefix", value: "/" }, headers: [], queries: [], grpc: false },
            ],
            backends: [{ service: inbound.service, weight: 1 }],
          },
        ],
      },
    ],
    streamRoutes: [],
    services: [
      {
        name: inbound.service,
        port: inbound.app.port,
        appProtocol,
        ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
        ...(connections === undefined ? {} : { connections }),
        // Whom the control service lets in here is not this listener's matter.
        exported: true,
        locales: [
          {
            kind: "local",
            cluster: inbound.cluster,
            endpoints: [{ ...inbound.app, weight: 1 }],
            healthy: 1,
            egressMs: 0,
            freshness: "fresh",
          },
        ],
      },
    ],
  };
}

/** The outbound half: what the control service sends, and one plain listener for the workload. */
export function withOutbound(
  snapshot: Snapshot,
  listen: { readonly address: string; readonly port: number },
): Snapshot {
  const listener: Listener = {
    name: "outbound",
    protocol: "HTTP",
    certificates: [],
    ...listen,
  };
  const routes = snapshot.routes.map((route) => ({ ...route, listeners: [listener.name] }));
  return { ...snapshot, listeners: [listener], routes };
}
