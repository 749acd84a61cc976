import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** One kind of load. */
export interface Workload {
  readonly name: string;
  readonly path: string;
  readonly connections: number;
  readonly tls: boolean;
  /** Over HTTP/2, with so many streams on each connection at a time; undefined: HTTP/1.1. */
  readonly streams?: number;
  /** wrk's own Lua; undefined: plain GETs. */
  readonly script: string | undefined;
  /** Requests/s of all connections together; undefined: as many as it can. */
  readonly rate?: number;
  /** Bytes of one request's body, counted in both directions with the answer's. */
  readonly bodyBytes?: number;
}

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
  return wrk.format("GET", "/small/items/" .. (n % 20) .. "/details?page=" .. (n % 7))
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

/** @param halfLoad requests/s of the last one. */
export function workloads(halfLoad: number): readonly Workload[] {
  const small = { path: "/small", connections: 64, tls: false, script: undefined };
  const connections = 64;
  return [
    { ...small, name: "small GET, 64 keep-alive connections" },
    { ...small, name: "20 paths, 12 header fields", script: varied },
    { ...small, name: "10 kB POST", path: "/post", script: post(10_000), bodyBytes: 10_000 },
    { ...small, name: "1 MB down", path: "/large", bodyBytes: 1_000_000 },
    { ...small, name: "1 MB up", path: "/post", script: post(1_000_000), bodyBytes: 1_000_000 },
    { ...small, name: "1,000 connections", connections: 1_000 },
    { ...small, name: "TLS 1.3, keep-alive", tls: true },
    { ...small, name: "a connection per request", script: closing },
    { ...small, name: "HTTP/2, 16 connections of 8 streams", connections: 16, streams: 8 },
    { ...small, name: "HTTP/2, 1 connection of 100 streams", connections: 1, streams: 100 },
    { ...small, name: "HTTP/2, 256 connections of 1 stream", connections: 256, streams: 1 },
    {
      ...small,
      name: "HTTP/2, 1 MB down",
      path: "/large",
      connections: 16,
      streams: 2,
      bodyBytes: 1_000_000,
    },
    {
      ...small,
      name: `${halfLoad} requests/s`,
      connections,
      script: paced(halfLoad, connections),
      rate: halfLoad,
    },
  ];
}

/** Path of the workload's script, for wrk's `-s`. */
export function scriptFile(dir: string, { name, script }: Workload): string | undefined {
  if (script === undefined) return undefined;
  const file = join(dir, `${name.replace(/[^a-z0-9]+/gi, "-")}.lua`);
  writeFileSync(file, script);
  return file;
}
