import type { ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ground, type Hop, isHttp2, type Protocol } from "#bench/load/hop.ts";
import { startOn } from "#bench/load/programs.ts";
import { gatewayId } from "#certs/identity/spiffe_id.ts";
import { saveMembership } from "#certs/workload/membership_file.ts";
import { membershipPath, snapshotPath } from "#cli/state_dir.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { LastGood } from "#proxy/subscribe/last_good.ts";
import { MESH, must } from "#test/kit/mesh.ts";
import { ROOT } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

/** As users start it. */
export const ESPALIER = join(ROOT, "espalier");

const APP_PROTOCOL: Readonly<Record<Protocol, string>> = {
  http1: "http",
  http2: "kubernetes.io/h2c",
  grpc: "grpc",
};
const SERVICE = "echo.bench";

/** By itself with a file, or, where one side is mTLS, as a gateway of a mesh. */
export function startEspalier(ground: Ground, hop: Hop): Promise<ChildProcess> | ChildProcess {
  const isGateway = hop.listen.security === "mutual" || hop.next.security === "mutual";
  return isGateway ? startGateway(ground, hop) : startAlone(ground, hop);
}

function startAlone({ certificate, key, cpu }: Ground, { listen, next, dir }: Hop): ChildProcess {
  const file = join(dir, "edge.yaml");
  const tls = "tls: { certificateRefs: [{ kind: Certificate, name: bench }] }";
  const listener =
    listen.security === "tls"
      ? `{ name: https, port: ${listen.port}, protocol: HTTPS, ${tls} }`
      : `{ name: http, port: ${listen.port}, protocol: HTTP }`;
  const yaml = staticYaml(listen.port, next.port)
    .replace(/listeners: .*/, `listeners: [${listener}]`)
    .replace("appProtocol: http", `appProtocol: ${APP_PROTOCOL[next.protocol]}`);
  writeFileSync(
    file,
    `${yaml}---
apiVersion: espalier.dev/v1alpha1
kind: Certificate
metadata: { name: bench }
spec: { certificateFile: ${certificate}, keyFile: ${key} }
`,
  );
  return startOn(cpu, ESPALIER, ["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
}

/**
 * From the state that a control service would have left: nothing else of the mesh is running, and the gateway
 * serves from its last good snapshot.
 */
async function startGateway(ground: Ground, hop: Hop): Promise<ChildProcess> {
  const { identity } = ground.gateways[hop.index]!;
  const state = join(hop.dir, "state");
  mkdirSync(state, { mode: 0o700 });
  // Nobody listens there: the bench has no control service.
  await saveMembership(membershipPath(state), { identity, api: "127.0.0.1:9" });
  const store = new LastGood(snapshotPath(state), new MemoryLogger());
  store.save(must(parseSnapshot(snapshotOf(ground, hop), "bench")));
  await store.settled();
  return startOn(ground.cpu, ESPALIER, ["proxy", "--state", state, "--admin", "127.0.0.1:0"]);
}

function snapshotOf({ gateways }: Ground, { listen, next, index }: Hop): object {
  const { cluster } = gateways[index]!.identity;
  const isMesh = listen.security === "mutual";
  const listener = {
    name: isMesh ? "mesh" : "http",
    address: "127.0.0.1",
    port: listen.port,
    protocol: isMesh ? "MESH" : "HTTP",
  };
  const route = {
    name: "all",
    listeners: ["http"],
    hostnames: [],
    rules: [
      {
        matches: [{ path: { type: "PathPrefix", value: "/" } }],
        backends: [{ service: SERVICE }],
      },
    ],
  };
  const beyond = gateways[index + 1]?.identity.cluster;
  const at = { address: "127.0.0.1", port: next.port };
  const locale =
    next.security === "mutual"
      ? { kind: "sibling", cluster: beyond, endpoints: [{ ...at, identity: gatewayId(beyond!) }] }
      : { kind: "local", cluster, endpoints: [at] };
  // Between gateways everything is HTTP/2: what the endpoints speak matters to the last of them alone.
  const appProtocol = next.security === "clear" && isHttp2(next) ? APP_PROTOCOL.http2 : "http";
  return {
    revision: "1",
    mesh: MESH,
    cluster,
    listeners: [listener],
    routes: isMesh ? [] : [route],
    services: [{ name: SERVICE, port: 80, appProtocol, locales: [{ ...locale, healthy: 1 }] }],
  };
}

/** Why it cannot be such a hop. */
export function espalierRefuses({ listen, next }: Pick<Hop, "listen" | "next">) {
  if (next.security === "tls") return "no TLS to endpoints without an identity";
  if (listen.security === "mutual" && !isHttp2(listen)) return "HTTP/2 alone between gateways";
  return undefined;
}
