import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CallKind } from "#bench/load/grpc_load.ts";
import type { Security } from "#bench/load/hop.ts";

/** What requests are passed on to in the end; each is a port of its own. */
export type Origin = "http1" | "http2" | "http2Large" | "grpc";

/** The way of a request: workloads that have it in common are put to the same processes. */
export interface Way {
  readonly client: "http1" | "http2" | "grpc";
  /** Of the client's side. */
  readonly security: Exclude<Security, "mutual">;
  /** Proxies one behind the other, with mTLS between them; 1: no mTLS at all. */
  readonly gateways: 1 | 2 | 3;
  readonly origin: Origin;
}

/** One kind of load. */
export interface Workload {
  readonly name: string;
  readonly way: Way;
  readonly path: string;
  readonly connections: number;
  /** Streams on each connection at a time, of HTTP/2 and gRPC. */
  readonly streams: number;
  /** wrk's own Lua; undefined: plain GETs. */
  readonly script?: string;
  /** h2load's options for the same. */
  readonly options?: readonly string[];
  readonly calls?: CallKind;
  /** Bytes of an answer's body. */
  readonly answerBytes: number;
  /** Bytes of a request's body. */
  readonly requestBytes?: number;
  /** CPU time is that of this gateway of the chain; undefined: of all. */
  readonly measured?: number;
}

const SMALL_BYTES = 12;
const LARGE_BYTES = 1_000_000;
const ITEMS = 20;
const TARGETS = 1_000;

const FIELDS = {
  "User-Agent":
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0",
  Accept: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "Accept-Encoding": "gzip, deflate, br, zstd",
  "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
  "Cache-Control": "max-age=0",
  Cookie: "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes",
  Referer: "https://shop.example.org/menu?table=4",
  "Sec-Fetch-Dest": "document",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Site": "same-origin",
  "Upgrade-Insecure-Requests": "1",
  Priority: "u=0, i",
};

const varied = `local n = 0
${Object.entries(FIELDS)
  .map(([name, value]) => `wrk.headers["${name}"] = "${value}"`)
  .join("\n")}
request = function()
  n = n + 1
  return wrk.format("GET", "/small/items/" .. (n % ${ITEMS}) .. "/details?page=" .. (n % 7))
end
`;

const post = (bytes: number): string => `wrk.method = "POST"
wrk.body = string.rep("x", ${bytes})
wrk.headers["Content-Type"] = "application/octet-stream"
`;

const closing = `wrk.headers["Connection"] = "close"
`;

/** Each connection waits so long between its requests that all together come to `rate`. */
const paced = (rate: number, connections: number): string => `delay = function()
  return ${Math.round((connections * 1_000) / rate)}
end
`;

const H1: Way = { client: "http1", security: "clear", gateways: 1, origin: "http1" };
const H2: Way = { ...H1, client: "http2" };
const GRPC: Way = { ...H1, client: "grpc", origin: "grpc" };

/**
 * @param dir where their files are.
 * @param halfLoad requests/s of the last one.
 */
export function workloads(dir: string, halfLoad: number): readonly Workload[] {
  const small = { way: H1, path: "/small", connections: 64, streams: 1, answerBytes: SMALL_BYTES };
  const upload = join(dir, "upload");
  writeFileSync(upload, Buffer.alloc(LARGE_BYTES, "x"));
  const large = { path: "/large", answerBytes: LARGE_BYTES };
  const up = { path: "/post", requestBytes: LARGE_BYTES };
  return [
    { ...small, name: "small GET, 64 keep-alive connections" },
    { ...small, name: "20 paths, 12 header fields", script: varied },
    { ...small, name: "10 kB POST", path: "/post", script: post(10_000), requestBytes: 10_000 },
    { ...small, ...large, name: "1 MB down" },
    { ...small, ...up, name: "1 MB up", script: post(LARGE_BYTES) },
    { ...small, name: "1,000 connections", connections: 1_000 },
    { ...small, name: "TLS 1.3, keep-alive", way: { ...H1, security: "tls" } },
    { ...small, name: "a connection per request", script: closing },
    ...http2("HTTP/2", "http1", "http1"),
    {
      ...small,
      ...grid(16, 8),
      name: "HTTP/2 over TLS 1.3, 16 × 8",
      way: { ...H2, security: "tls" },
    },
    ...http2("HTTP/2 to HTTP/2", "http2", "http2Large"),
    { ...small, name: "HTTP/1.1 to HTTP/2, 64 connections", way: { ...H1, origin: "http2" } },
    ...grpc(),
    ...gateways(),
    { ...small, name: `${halfLoad} requests/s`, script: paced(halfLoad, small.connections) },
  ];

  function http2(name: string, origin: Origin, forLarge: Origin): Workload[] {
    const way = { ...H2, origin };
    const plain = { ...small, way };
    return [
      { ...plain, ...grid(16, 8), name: `${name}, 16 × 8` },
      { ...plain, ...grid(1, 100), name: `${name}, 1 × 100` },
      { ...plain, ...grid(256, 1), name: `${name}, 256 × 1` },
      {
        ...{ ...plain, ...grid(16, 8), name: `${name}, ${TARGETS} targets, 12 header fields` },
        options: [...fieldOptions(), "-i", targetsFile(dir)],
      },
      {
        ...{ ...plain, ...large, ...grid(16, 2), name: `${name}, 1 MB down` },
        way: { ...way, origin: forLarge },
      },
      { ...plain, ...up, ...grid(16, 2), name: `${name}, 1 MB up`, options: ["-d", upload] },
    ];
  }

  function grpc(): Workload[] {
    const call = { ...small, way: GRPC };
    return [
      { ...call, ...grid(16, 8), name: "gRPC unary, 16 × 8", calls: "unary" },
      { ...call, ...grid(1, 100), name: "gRPC unary, 1 × 100", calls: "unary" },
      { ...call, ...grid(16, 8), name: "gRPC, a message of a stream", calls: "streaming" },
      { ...call, ...grid(16, 8), name: "gRPC, a message there and back", calls: "ping-pong" },
    ];
  }

  function gateways(): Workload[] {
    const two = { ...H1, gateways: 2 } as const;
    return [
      { ...small, name: "two gateways, small GET", way: two },
      {
        ...small,
        ...grid(16, 8),
        name: "two gateways, HTTP/2, 16 × 8",
        way: { ...two, client: "http2" },
      },
      { ...small, ...large, name: "two gateways, 1 MB down", way: two },
      {
        ...{ ...small, ...grid(16, 8), name: "two gateways, gRPC unary, 16 × 8", calls: "unary" },
        way: { ...GRPC, gateways: 2 },
      },
      { ...small, name: "mTLS on both sides, small GET", way: { ...H1, gateways: 3 }, measured: 1 },
    ];
  }
}

/** Connections, and streams on each. */
function grid(connections: number, streams: number): Pick<Workload, "connections" | "streams"> {
  return { connections, streams };
}

function fieldOptions(): string[] {
  return Object.entries(FIELDS).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
}

/** Targets that differ in item and id, for h2load. */
function targetsFile(dir: string): string {
  const file = join(dir, "targets");
  const lines = Array.from({ length: TARGETS }, (_, i) => {
    const id = Math.imul(i + 1, 0x9e37_79b1) >>> 0;
    const hex = id.toString(16).padStart(8, "0");
    return `http://bench.example/small/items/${i % ITEMS}/details?request=${hex.repeat(4)}`;
  });
  writeFileSync(file, lines.join("\n"));
  return file;
}

/** Path of the workload's script, for wrk's `-s`. */
export function scriptFile(dir: string, { name, script }: Workload): string | undefined {
  if (script === undefined) return undefined;
  const file = join(dir, `${name.replace(/[^a-z0-9]+/gi, "-")}.lua`);
  writeFileSync(file, script);
  return file;
}
