import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { type ClientRules, parseSnapshot, type Snapshot } from "#model/snapshot.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import { LocalPlane } from "#proxy/app/local_plane.ts";
import type { LineLog } from "#proxy/observe/line_log.ts";
import { must } from "#test/kit/mesh.ts";

/** A snapshot with one listener and one service at 127.0.0.1. */
export function simpleSnapshot(
  ports: readonly number[],
  change: {
    revision?: string;
    listenerPort?: number;
    requestTimeoutMs?: number;
    backendTimeoutMs?: number;
    rules?: Partial<ClientRules>;
  } = {},
): Snapshot {
  const { revision = "1", listenerPort = 0, requestTimeoutMs, backendTimeoutMs } = change;
  const rules = change.rules === undefined ? {} : { rules: change.rules };
  const endpoints = ports.map((port) => ({ address: "127.0.0.1", port }));
  return must(
    parseSnapshot(
      {
        revision,
        mesh: "acme.mesh",
        cluster: "core.acme.mesh",
        listeners: [
          { name: "http", address: "127.0.0.1", port: listenerPort, protocol: "HTTP", ...rules },
        ],
        routes: [
          {
            name: "all",
            listeners: ["http"],
            hostnames: [],
            rules: [
              {
                matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [], queries: [] }],
                backends: [{ service: "origin.shop" }],
                ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
                ...(backendTimeoutMs === undefined ? {} : { backendTimeoutMs }),
              },
            ],
          },
        ],
        services: [
          {
            name: "origin.shop",
            port: 80,
            appProtocol: "http",
            locales: [
              { kind: "local", cluster: "core.acme.mesh", endpoints, healthy: endpoints.length },
            ],
          },
        ],
      },
      "test",
    ),
  );
}

/** A data plane in this process with its port. */
export async function startPlane(
  snapshot: Snapshot,
  change: { readonly accessLog?: LineLog } = {},
): Promise<{
  plane: LocalPlane;
  port: number;
  statuses: readonly ListenerStatus[];
  log: MemoryLogger;
}> {
  const log = new MemoryLogger();
  const plane = new LocalPlane({
    cluster: snapshot.cluster as ClusterName,
    clock: systemClock,
    rng: seededRng(1),
    log,
    reusePort: false,
    ...change,
  });
  plane.apply(snapshot);
  const statuses = await plane.settled();
  return { plane, port: statuses[0]?.bound?.port ?? 0, statuses, log };
}

/** All samples of a metric in Prometheus text, added up; with `labels` only those that have them. */
export function counterOf(text: string, name: string, labels = ""): number {
  let sum = 0;
  for (const line of text.split("\n")) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (line.includes(labels)) sum += Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return sum;
}
