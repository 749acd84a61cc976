import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { rssMb } from "#bench/load/cpu.ts";
import { ESPALIER } from "#bench/load/espalier.ts";
import { listening } from "#bench/load/programs.ts";
import { freePort } from "#test/kit/ports.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const WORKERS = 2;
const CONNECTIONS = 1_000;
const SERVICES = 50;
const ENDPOINTS = 100;

/** Resident memory of a worker with 5,000 endpoints and 1,000 clients that have asked once. */
export async function memoryLine(dir: string, origin: number): Promise<string> {
  const port = await freePort();
  const file = join(dir, "memory.yaml");
  const services = Array.from({ length: SERVICES }, (_, s) => serviceYaml(s));
  writeFileSync(file, [staticYaml(port, origin), ...services].join("---\n"));
  const args = ["proxy", "-f", file, "--admin", "127.0.0.1:0", "--workers", String(WORKERS)];
  const proxy = spawn(ESPALIER, args, { stdio: ["ignore", "ignore", "inherit"] });
  try {
    await listening(port);
    const idle = workersOf(proxy.pid!).map(rssMb);
    const clients = await Promise.all(
      Array.from({ length: WORKERS * CONNECTIONS }, () => askOnce(port)),
    );
    const loaded = workersOf(proxy.pid!).map(rssMb);
    for (const client of clients) client.destroy();
    const most = (values: readonly number[]): string => Math.max(...values).toFixed(0);
    return `a worker with ${SERVICES * ENDPOINTS} endpoints: ${most(idle)} MB; with ${CONNECTIONS} connections: ${most(loaded)} MB`;
  } finally {
    proxy.kill("SIGKILL");
  }
}

function serviceYaml(service: number): string {
  const endpoints = Array.from(
    { length: ENDPOINTS },
    (_, e) => `    - { address: 127.1.${service}.${e}, port: 80 }\n`,
  );
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: s${service} }
spec:
  ports: [{ port: 80, appProtocol: http }]
  endpoints:
${endpoints.join("")}`;
}

function workersOf(primary: number): number[] {
  return readFileSync(`/proc/${primary}/task/${primary}/children`, "utf8")
    .trim()
    .split(" ")
    .map(Number);
}

/** A connection that stays, once its first answer has come. */
function askOnce(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", reject);
    socket.on("data", () => resolve(socket));
    socket.write("GET /small HTTP/1.1\r\nHost: bench.example\r\n\r\n");
  });
}
