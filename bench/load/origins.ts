import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Origins } from "#bench/load/chain.ts";
import type { Gateway, Ground } from "#bench/load/hop.ts";
import { listening, startNginx, startOn } from "#bench/load/programs.ts";
import { gatewayId } from "#certs/identity/spiffe_id.ts";
import { serverCertificate } from "#test/kit/certificates.ts";
import { cluster, TestTree } from "#test/kit/mesh.ts";
import { freePort } from "#test/kit/ports.ts";

/** Clusters of a chain of gateways: siblings, so that each may go to the next. */
const CLUSTERS = ["store-1.eu", "store-2.eu", "store-3.eu"];

/** Everything that proxies pass requests on to: nginx for HTTP/1.1, a process of the bench's own for the rest. */
export async function startOrigins(
  dir: string,
  cpu: number,
  children: ChildProcess[],
): Promise<Origins> {
  const http1 = await freePort();
  writeFileSync(join(dir, "large"), Buffer.alloc(1_000_000, "x"));
  children.push(
    startNginx(
      cpu,
      join(dir, "origin"),
      `client_max_body_size 8m; client_body_buffer_size 2m;
      server { listen 127.0.0.1:${http1} backlog=4096; location /small { return 200 "hello world\n"; } location /large { root ${dir}; }
        location /post { proxy_pass http://127.0.0.1:${http1}/small; } }`,
    ),
  );
  const origins = {
    http1,
    http2: await freePort(),
    http2Large: await freePort(),
    grpc: await freePort(),
  };
  const program = new URL(import.meta.resolve("#bench/load/origin_process.ts")).pathname;
  const ports = [origins.http2, origins.http2Large, origins.grpc].map(String);
  children.push(startOn(cpu, process.execPath, [program, ...ports]));
  for (const port of Object.values(origins)) await listening(port);
  return origins;
}

/** Certificates of this run. */
export async function groundOf(dir: string, cpu: number): Promise<Ground> {
  const pem = await serverCertificate("bench.example");
  const tree = new TestTree();
  const gateways: Gateway[] = [];
  for (const short of CLUSTERS) {
    const of = cluster(short);
    const identity = await tree.identity(gatewayId(of), of);
    gateways.push({
      identity,
      proof: {
        certificate: write(dir, `${short}.crt`, identity.chainPem),
        key: write(dir, `${short}.key`, identity.keyPem),
        roots: write(dir, `${short}.roots`, identity.rootsPem),
      },
    });
  }
  return {
    certificate: write(dir, "tls.crt", pem.certificate),
    key: write(dir, "tls.key", pem.key),
    gateways,
    cpu,
  };
}

function write(dir: string, name: string, text: string): string {
  const file = join(dir, name);
  writeFileSync(file, text);
  return file;
}
