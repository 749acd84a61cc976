import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENVOY, startEnvoy } from "#bench/load/envoy.ts";
import { espalierRefuses, startEspalier } from "#bench/load/espalier.ts";
import { type Ground, type Hop, isHttp2, type Peer } from "#bench/load/hop.ts";
import { isInstalled, startNginx, startOn } from "#bench/load/programs.ts";
import { ROOT } from "#test/kit/processes.ts";

const NODE_PEERS = join(ROOT, ".tools/peers/node_modules");
const NEEDS = "run make bench-peers";

function program(name: string): string | undefined {
  return isInstalled(name) ? undefined : NEEDS;
}

/** Files of what a hop proves to those who come. */
function ownFiles({ certificate, key, gateways }: Ground, { listen, index }: Hop) {
  return listen.security === "tls" ? { certificate, key } : gateways[index]!.proof;
}

/** espalier first: the others are its measure. */
export const PEERS_OF_THE_BENCH: readonly Peer[] = [
  {
    name: "espalier",
    missing: undefined,
    between: "http2",
    refuses: espalierRefuses,
    start: startEspalier,
  },
  {
    name: "nginx",
    missing: program("nginx"),
    between: "http1",
    refuses: ({ next }) => (next.protocol === "http2" ? "HTTP/1.1 to origins" : undefined),
    start: startNginxHop,
  },
  {
    name: "haproxy",
    missing: program("haproxy"),
    between: "http2",
    refuses: () => undefined,
    start: startHaproxy,
  },
  {
    name: "envoy",
    missing: existsSync(ENVOY) ? undefined : NEEDS,
    between: "http2",
    refuses: () => undefined,
    start: startEnvoy,
  },
  {
    name: "nghttpx",
    missing: program("nghttpx"),
    between: "http2",
    // It is here for HTTP/2: where there is none, others are better known.
    refuses: ({ listen, next }) =>
      isHttp2(listen) || isHttp2(next) ? undefined : "HTTP/2 is its purpose",
    start: startNghttpx,
  },
  ...["http-proxy", "undici"].map(
    (name): Peer => ({
      name: name === "undici" ? "node:http+undici" : name,
      missing: existsSync(join(NODE_PEERS, name)) ? undefined : NEEDS,
      between: "http1",
      refuses: ({ listen, next }) => {
        if (isHttp2(listen) || isHttp2(next)) return "HTTP/1.1 only";
        const isMutual = listen.security === "mutual" || next.security === "mutual";
        return isMutual ? "not set up for mTLS" : undefined;
      },
      start: (ground, hop) => startNodePeer(ground, hop, name, join(NODE_PEERS, name)),
    }),
  ),
  {
    name: "node:http2",
    missing: undefined,
    between: "http2",
    refuses: ({ listen, next }) => {
      if (!isHttp2(listen)) return "HTTP/2 clients only";
      const isClear = listen.security === "clear" && next.security === "clear";
      return isClear ? undefined : "in the clear only";
    },
    start: (ground, hop) => startNodePeer(ground, hop, "node:http2", originProtocol(hop)),
  },
];

/** What `node:http2` is told in place of a package's path. */
function originProtocol({ next }: Hop): string {
  return isHttp2(next) ? "http2" : "http1";
}

function startNginxHop(ground: Ground, hop: Hop) {
  const { listen, next, dir, index } = hop;
  const { gateways, cpu } = ground;
  const secured = listen.security === "clear" ? "" : " ssl";
  const lines = [
    `listen 127.0.0.1:${listen.port}${secured}${isHttp2(listen) ? " http2" : ""} backlog=4096;`,
  ];
  if (listen.security !== "clear") {
    const own = ownFiles(ground, hop);
    lines.push(`ssl_certificate ${own.certificate}; ssl_certificate_key ${own.key};`);
    lines.push("ssl_protocols TLSv1.3;");
  }
  if (listen.security === "mutual") {
    const { roots } = gateways[index]!.proof;
    lines.push(`ssl_verify_client on; ssl_verify_depth 4; ssl_client_certificate ${roots};`);
  }
  const module = next.protocol === "grpc" ? "grpc" : "proxy";
  if (next.security === "mutual") {
    const { certificate, key, roots } = gateways[index]!.proof;
    lines.push(
      `${module}_ssl_certificate ${certificate}; ${module}_ssl_certificate_key ${key}; ${module}_ssl_protocols TLSv1.3;`,
      `${module}_ssl_verify on; ${module}_ssl_verify_depth 4; ${module}_ssl_trusted_certificate ${roots};`,
      `${module}_ssl_server_name on; ${module}_ssl_name ${gateways[index + 1]!.identity.cluster};`,
    );
  }
  const scheme = `${next.protocol === "grpc" ? "grpc" : "http"}${next.security === "clear" ? "" : "s"}`;
  lines.push(
    next.protocol === "grpc"
      ? `location / { grpc_pass ${scheme}://o; }`
      : `location / { proxy_pass ${scheme}://o; proxy_http_version 1.1; proxy_set_header Connection ""; }`,
  );
  return startNginx(
    cpu,
    join(dir, "nginx"),
    `upstream o { server 127.0.0.1:${next.port}; keepalive 256; keepalive_requests 1000000000; }
    client_max_body_size 8m; server { ${lines.join("\n")} }`,
  );
}

function startHaproxy(ground: Ground, hop: Hop) {
  const { listen, next, dir, index } = hop;
  const { gateways, cpu } = ground;
  const bind = [`bind 127.0.0.1:${listen.port}`];
  if (listen.security !== "clear") {
    bind.push(`ssl crt ${pemFile(ownFiles(ground, hop), dir, "listen")} ssl-min-ver TLSv1.3`);
    bind.push(`alpn ${isHttp2(listen) ? "h2" : "http/1.1"}`);
  } else if (isHttp2(listen)) bind.push("proto h2");
  if (listen.security === "mutual") {
    bind.push(`ca-file ${gateways[index]!.proof.roots} verify required`);
  }
  const server = [`server o 127.0.0.1:${next.port} pool-max-conn -1`];
  if (next.security === "mutual") {
    const { proof } = gateways[index]!;
    const name = gateways[index + 1]!.identity.cluster;
    server.push(`ssl crt ${pemFile(proof, dir, "next")} ca-file ${proof.roots} verify required`);
    server.push(`sni str(${name}) verifyhost ${name} alpn ${isHttp2(next) ? "h2" : "http/1.1"}`);
  } else if (isHttp2(next)) server.push("proto h2");
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
  ${bind.join(" ")}
  default_backend b
backend b
  option forwardfor
  ${server.join(" ")}
`,
  );
  return startOn(cpu, "haproxy", ["-q", "-f", file]);
}

/** Chain and key in one file, as HAProxy wants them. */
function pemFile(
  { certificate, key }: { readonly certificate: string; readonly key: string },
  dir: string,
  name: string,
): string {
  const pem = join(dir, `${name}.pem`);
  writeFileSync(pem, "");
  for (const part of [certificate, key]) appendFileSync(pem, readFileSync(part));
  return pem;
}

function startNghttpx(ground: Ground, hop: Hop) {
  const { listen, next, index } = hop;
  const { gateways, cpu } = ground;
  const args = ["--conf=/dev/null", "--workers=1", "--single-process", "--log-level=FATAL"];
  const noTls = listen.security === "clear" ? ";no-tls" : "";
  args.push(`--frontend=127.0.0.1,${listen.port}${noTls}`);
  let backend = `--backend=127.0.0.1,${next.port};`;
  if (isHttp2(next)) backend += ";proto=h2";
  if (next.security === "mutual") {
    const { proof } = gateways[index]!;
    backend += `;tls;sni=${gateways[index + 1]!.identity.cluster}`;
    args.push(`--client-private-key-file=${proof.key}`, `--client-cert-file=${proof.certificate}`);
    args.push(`--cacert=${proof.roots}`);
  }
  args.push(backend);
  if (listen.security === "mutual") {
    args.push("--verify-client", `--verify-client-cacert=${gateways[index]!.proof.roots}`);
  }
  if (listen.security !== "clear") {
    const { certificate, key } = ownFiles(ground, hop);
    args.push("--tls-min-proto-version=TLSv1.3", "--no-ocsp", key, certificate);
  }
  // It tells at each start which configuration it has read.
  return startOn(cpu, "nghttpx", args, "ignore");
}

function startNodePeer(ground: Ground, { listen, next }: Hop, name: string, at: string) {
  const { certificate, key, cpu } = ground;
  const tls = listen.security === "tls" ? [certificate, key] : [];
  return startOn(cpu, process.execPath, [
    new URL(import.meta.resolve("#bench/load/node_peers.ts")).pathname,
    ...[name, at, String(next.port), String(listen.port), ...tls],
  ]);
}
