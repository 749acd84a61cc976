import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { cpuSeconds, rssMb } from "#bench/load/cpu.ts";
import { memoryLine } from "#bench/load/memory.ts";
import {
  h2load,
  isInstalled,
  type LoadResult,
  listening,
  startNginx,
  wrk,
} from "#bench/load/programs.ts";
import { type Ground, PEERS_OF_THE_BENCH, type Peer } from "#bench/load/subjects.ts";
import { scriptFile, type Workload, workloads } from "#bench/load/workloads.ts";
import { codecLines } from "#bench/micro/codec.ts";
import { decisionLines } from "#bench/micro/decisions.ts";
import { http2Lines } from "#bench/micro/http2.ts";
import { serverCertificate } from "#test/kit/certificates.ts";
import { freePort } from "#test/kit/ports.ts";
import { ROOT } from "#test/kit/processes.ts";

/*
 * espalier proxy beside its peers: the same origin, the same load, one after the other in turns, the
 * proxy on one CPU, load and origin on another. Prints medians, spreads and ratios, and writes them
 * to bench/results/*.json; the machine is shared and noisy, so compare ratios.
 *
 *   make bench ARGS='--rounds 5 --seconds 5 --only TLS'
 */

interface Running {
  readonly peer: Peer;
  readonly pid: number;
  readonly plain: number;
  readonly tls: number;
  /** Where it takes HTTP/2 in the clear. */
  readonly http2: number;
}

interface Reading extends LoadResult {
  readonly cpuMicros: number;
}

interface Line {
  readonly workload: string;
  readonly peer: string;
  readonly requestsPerSecond: number;
  readonly spreadPercent: number;
  readonly cpuMicrosPerRequest: number;
  readonly p99Ms: number;
  readonly rssMb: number;
  /** espalier's requests per CPU second over this one's. */
  readonly espalierPerCpuSecond: number;
}

const PROXY_CPU = 0;
const LOAD_CPU = 1;

function option(name: string, otherwise: string): string {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? otherwise);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

async function main(): Promise<void> {
  const missing = ["wrk", "nginx", "taskset"].filter((program) => !isInstalled(program));
  const micro = [...codecLines(), ...http2Lines(), ...decisionLines()];
  console.log(["per call (medians)", ...micro].join("\n"));
  if (missing.length > 0 || cpus().length < 2) {
    const what = missing.length > 0 ? `, and on PATH: ${missing.join(", ")}` : "";
    console.log(`\nno load test: it needs two CPUs${what} (make bench-peers installs them)`);
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), "espalier-bench-"));
  const children: ChildProcess[] = [];
  try {
    const origin = await startOrigin(dir, children);
    const lines = await measure(dir, children, origin);
    const memory = await memoryLine(dir, origin);
    console.log(`\n${memory}`);
    if (process.argv.includes("--save")) save(lines, [...micro, memory]);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What every proxy passes requests on to. Returns its port. */
async function startOrigin(dir: string, children: ChildProcess[]): Promise<number> {
  const origin = await freePort();
  writeFileSync(join(dir, "large"), Buffer.alloc(1_000_000, "x"));
  children.push(
    startNginx(
      LOAD_CPU,
      join(dir, "origin"),
      `client_max_body_size 8m; client_body_buffer_size 2m;
      server { listen 127.0.0.1:${origin} backlog=4096; location /small { return 200 "hello world\n"; } location /large { root ${dir}; }
        location /post { proxy_pass http://127.0.0.1:${origin}/small; } }`,
    ),
  );
  await listening(origin);
  return origin;
}

async function measure(dir: string, children: ChildProcess[], origin: number): Promise<Line[]> {
  const pem = await serverCertificate("bench.example");
  const ground: Ground = {
    dir,
    origin,
    certificate: join(dir, "tls.crt"),
    key: join(dir, "tls.key"),
    cpu: PROXY_CPU,
  };
  writeFileSync(ground.certificate, pem.certificate);
  writeFileSync(ground.key, pem.key);
  const running: Running[] = [];
  for (const peer of PEERS_OF_THE_BENCH) {
    if (peer.missing !== undefined) {
      console.log(`without ${peer.name}: ${peer.missing}`);
      continue;
    }
    const [plain, tls] = [await freePort(), await freePort()];
    const http2 = peer.http2 === "apart" ? await freePort() : plain;
    const child = peer.start(ground, plain, tls, http2);
    children.push(child);
    for (const port of peer.http2 === "only" ? [plain] : [plain, tls, http2]) await listening(port);
    running.push({ peer, pid: child.pid!, plain, tls, http2 });
  }
  const only = option("--only", "");
  const lines: Line[] = [];
  let halfLoad = 10_000;
  for (const [index, { name }] of workloads(halfLoad).entries()) {
    if (!name.includes(only)) continue;
    // By then it is known what espalier can bear.
    const workload = workloads(halfLoad)[index]!;
    const able = running.filter(({ peer }) => speaks(peer, workload));
    const found = report(workload, able, await inTurns(workload, able, dir));
    lines.push(...found);
    if (lines.length === found.length) {
      halfLoad = Math.round(found[0]!.requestsPerSecond / 2_000) * 1_000;
    }
  }
  return lines;
}

/** Whether a peer can be asked in the protocol of the load. */
function speaks(peer: Peer, { streams }: Workload): boolean {
  if (streams === undefined) return peer.http2 !== "only";
  return peer.http2 !== undefined && isInstalled("h2load");
}

async function inTurns(
  workload: Workload,
  running: readonly Running[],
  dir: string,
): Promise<Map<string, Reading[]>> {
  const rounds = Number(option("--rounds", "3"));
  const seconds = Number(option("--seconds", "3"));
  const script = scriptFile(dir, workload);
  const { connections, path, tls: isTls, streams } = workload;
  const load = ({ plain, tls, http2 }: Running, time: number) => {
    if (streams !== undefined) {
      const url = `http://127.0.0.1:${http2}${path}`;
      return h2load({ cpu: LOAD_CPU, url, seconds: time, connections, streams });
    }
    const url = isTls ? `https://127.0.0.1:${tls}${path}` : `http://127.0.0.1:${plain}${path}`;
    return wrk({ cpu: LOAD_CPU, url, seconds: time, connections, script });
  };
  const readings = new Map<string, Reading[]>(running.map(({ peer }) => [peer.name, []]));
  for (const one of running) await load(one, 1);
  for (let round = 0; round < rounds; round++) {
    for (const one of running) {
      const before = cpuSeconds(one.pid);
      const result = await load(one, seconds);
      const cpuMicros = ((cpuSeconds(one.pid) - before) * 1e6) / result.requests;
      readings.get(one.peer.name)!.push({ ...result, cpuMicros });
    }
  }
  return readings;
}

function report(
  workload: Workload,
  running: readonly Running[],
  readings: Map<string, Reading[]>,
): Line[] {
  console.log(`\n${workload.name} (medians)`);
  const lines = running.map(({ peer, pid }) => {
    const own = readings.get(peer.name)!;
    const of = (value: (reading: Reading) => number): number => median(own.map(value));
    const speeds = own.map((r) => r.cpuMicros);
    const cpu = of((r) => r.cpuMicros);
    const ours = median(readings.get("espalier")!.map((r) => r.cpuMicros));
    return {
      workload: workload.name,
      peer: peer.name,
      requestsPerSecond: Math.round(of((r) => r.perSecond)),
      spreadPercent: Math.round((100 * (Math.max(...speeds) - Math.min(...speeds))) / cpu),
      cpuMicrosPerRequest: Number(cpu.toFixed(1)),
      p99Ms: Number(of((r) => r.p99Ms).toFixed(2)),
      rssMb: Math.round(rssMb(pid)),
      espalierPerCpuSecond: Number((cpu / ours).toFixed(2)),
    };
  });
  for (const l of lines) {
    const bytes = workload.bodyBytes ?? 0;
    const speed =
      bytes < 100_000 ? "" : `, ${(bytes / l.cpuMicrosPerRequest / 1_000).toFixed(2)} GB/CPU s`;
    console.log(
      `  ${l.peer.padEnd(17)} ${String(l.requestsPerSecond).padStart(7)}/s  ${l.cpuMicrosPerRequest.toFixed(1).padStart(7)} µs CPU ±${l.spreadPercent} %  p99 ${l.p99Ms.toFixed(2)} ms  ${l.rssMb} MB${speed}${l.peer === "espalier" ? "" : `  espalier × ${l.espalierPerCpuSecond}`}`,
    );
  }
  return lines;
}

function save(lines: readonly Line[], others: readonly string[]): void {
  const date = new Date().toISOString().slice(0, 10);
  const machine = {
    cpu: cpus()[0]!.model,
    cpus: cpus().length,
    kernel: release(),
    node: process.version,
  };
  const dir = join(ROOT, "bench/results");
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `${date}.json`);
  writeFileSync(file, `${JSON.stringify({ date, machine, lines, others }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}

await main();
