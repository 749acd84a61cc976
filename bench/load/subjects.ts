import type { ChildProcess } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isInstalled, startNginx, startOn } from "#bench/load/programs.ts";
import { ROOT } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

/** Where everything of one run is. */
export interface Ground {
  readonly dir: string;
  readonly origin: number;
  /** PEM files of the TLS listeners. */
  readonly certificate: string;
  readonly key: string;
  /** CPU of the proxies. */
  readonly cpu: number;
}

/** A proxy that can be measured. */
export interface Peer {
  readonly name: string;
  /** Why it cannot run here; undefined: it can. */
  readonly missing: string | undefined;
  /** Takes HTTP/2 in the clear on its plain port, on one of its own, or nothing else; undefined: not at all. */
  readonly http2?: "too" | "apart" | "only";
  start(ground: Ground, plain: number, tls: number, http2: number): ChildProcess;
}

/** As users start it. */
export const ESPALIER = join(ROOT, "espalier");
const ENVOY = join(ROOT, ".tools/envoy/envoy/_bin/envoy");
const PEERS = join(ROOT, ".tools/peers/node_modules");
const NEEDS = "run make bench-peers";

function program(name: string): string | undefined {
  return isInstalled(name) ? undefined : NEEDS;
}

/** espalier first: the others are its measure. */
export const PEERS_OF_THE_BENCH: readonly Peer[] = [
  { name: "espalier", missing: undefined, http2: "too", start: startEspalier },
  {
    name: "nginx",
    missing: program("nginx"),
    http2: "apart",
    start: ({ dir, origin, cpu, certificate, key }, plain, tls, http2) =>
      startNginx(
        cpu,
        join(dir, "nginx"),
        `upstream o { server 127.0.0.1:${origin}; keepalive 256; keepalive_requests 1000000000; }
        server { listen 127.0.0.1:${plain} backlog=4096; listen 127.0.0.1:${tls} ssl;
          listen 127.0.0.1:${http2} http2 backlog=4096;
          ssl_certificate ${certificate}; ssl_certificate_key ${key}; client_max_body_size 8m;
          location / { proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
      ),
  },
  { name: "haproxy", missing: program("haproxy"), start: startHaproxy },
  {
    name: "envoy",
    missing: existsSync(ENVOY) ? undefined : NEEDS,
    http2: "too",
    start: startEnvoy,
  },
  {
    name: "nghttpx",
    missing: program("nghttpx"),
    http2: "only",
    start: ({ origin, cpu }, plain) =>
      startOn(cpu, "nghttpx", [
        ...["--conf=/dev/null", "--workers=1", "--single-process", "--log-level=FATAL"],
        ...[`--frontend=127.0.0.1,${plain};no-tls`, `--backend=127.0.0.1,${origin}`],
      ]),
  },
  ...["http-proxy", "undici"].map((name) => ({
    name: name === "undici" ? "node:http+undici" : name,
    missing: existsSync(join(PEERS, name)) ? undefined : NEEDS,
    start: ({ origin, cpu, certificate, key }: Ground, plain: number, tls: number) =>
      startOn(cpu, process.execPath, [
        new URL(import.meta.resolve("#bench/load/node_peers.ts")).pathname,
        ...[name, join(PEERS, name), String(origin), String(plain), String(tls), certificate, key],
      ]),
  })),
];

function startEspalier({ dir, origin, cpu, certificate, key }: Ground, plain: number, tls: number) {
  const file = join(dir, "edge.yaml");
  const listeners = `listeners:
    - { name: http, port: ${plain}, protocol: HTTP }
    - { name: https, port: ${tls}, protocol: HTTPS, tls: { certificateRefs: [{ kind: Certificate, name: bench }] } }`;
  const yaml = staticYaml(plain, origin).replace(/listeners: .*/, listeners);
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

function startHaproxy({ dir, origin, cpu, certificate, key }: Ground, plain: number, tls: number) {
  const pem = join(dir, "haproxy.pem");
  writeFileSync(pem, "");
  for (const part of [certificate, key]) appendFileSync(pem, readFileSync(part));
  const file = join(dir, "haproxy.cfg");
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:${plain}
  bind 127.0.0.1:${tls} ssl crt ${pem}
  default_backend b
backend b
  option forwardfor
  server o 127.0.0.1:${origin} pool-max-conn -1
`,
  );
  return startOn(cpu, "haproxy", ["-q", "-f", file]);
}

/** As DESIGN §10 has it for a fair run. */
function startEnvoy({ dir, origin, cpu, certificate, key }: Ground, plain: number, tls: number) {
  const listener = (name: string, port: number, transport: string): string =>
    `{ name: ${name}, address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }, filter_chains: [{ ${transport} filters: [{
      name: envoy.filters.network.http_connection_manager, typed_config: {
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: s, generate_request_id: false,
        http_filters: [{ name: envoy.filters.http.router, typed_config: {
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, dynamic_stats: false } }],
        route_config: { virtual_hosts: [{ name: v, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: o } }] }] } } }] }] }`;
  const transport = `transport_socket: { name: envoy.transport_sockets.tls, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: { tls_certificates: [{
      certificate_chain: { filename: ${certificate} }, private_key: { filename: ${key} } }] } } },`;
  const most = 1_000_000;
  const file = join(dir, "envoy.yaml");
  writeFileSync(
    file,
    `static_resources:
  listeners: [${listener("plain", plain, "")}, ${listener("tls", tls, transport)}]
  clusters:
  - name: o
    connect_timeout: 5s
    circuit_breakers: { thresholds: [{
      max_connections: ${most}, max_pending_requests: ${most}, max_requests: ${most}, max_retries: ${most} }] }
    load_assignment: { cluster_name: o, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: {
      address: 127.0.0.1, port_value: ${origin} } } } }] }] }
`,
  );
  chmodSync(ENVOY, 0o755);
  const quiet = ["--log-level", "error", "--disable-hot-restart"];
  return startOn(cpu, ENVOY, ["-c", file, "--concurrency", "1", ...quiet]);
}
