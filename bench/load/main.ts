import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { cpuSeconds, rssMb } from "#bench/load/cpu.ts";
import {
  isInstalled,
  type LoadResult,
  listening,
  startNginx,
  startOn,
  wrk,
} from "#bench/load/programs.ts";
import { microLines } from "#bench/micro/decisions.ts";
import { freePort } from "#test/kit/ports.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

/*
 * espalier proxy beside nginx: the same origin, the same load, one after the other in turns, the proxy
 * on one CPU, load and origin on another. Prints medians and ratios; the machine is shared and noisy.
 *
 *   make bench ARGS='--rounds 5 --seconds 5'
 */

interface Subject {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
}

interface Reading extends LoadResult {
  readonly cpuMicros: number;
}

const WORKLOADS = [
  { name: "small GET, 64 keep-alive connections", path: "/small" },
  { name: "1 MB body, 64 connections", path: "/large" },
] as const;

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

async function main(): Promise<void> {
  const missing = ["wrk", "nginx", "taskset"].filter((program) => !isInstalled(program));
  console.log((await microLines()).join("\n"));
  if (missing.length > 0 || cpus().length < 2) {
    console.log(
      `\nno load test: it needs two CPUs, and on PATH: ${missing.join(", ")} (Debian packages of these names; taskset is of util-linux)`,
    );
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), "espalier-bench-"));
  const children: ChildProcess[] = [];
  try {
    await measure(dir, children);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measure(dir: string, children: ChildProcess[]): Promise<void> {
  const [origin, nginx, espalier] = [await freePort(), await freePort(), await freePort()];
  writeFileSync(join(dir, "large"), Buffer.alloc(1_000_000, "x"));
  children.push(
    startNginx(
      1,
      join(dir, "origin"),
      `server { listen 127.0.0.1:${origin}; location /small { return 200 "hello world\\n"; } location /large { root ${dir}; } }`,
    ),
    startNginx(
      0,
      join(dir, "proxy"),
      `upstream o { server 127.0.0.1:${origin}; keepalive 128; keepalive_requests 1000000000; }
      server { listen 127.0.0.1:${nginx}; location / { proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
    ),
  );
  const file = join(dir, "edge.yaml");
  writeFileSync(file, staticYaml(espalier, origin));
  const main = new URL(import.meta.resolve("#cli/main.ts")).pathname;
  children.push(
    startOn(0, process.execPath, [
      "--disable-warning=ExperimentalWarning",
      main,
      "proxy",
      "-f",
      file,
      "--admin",
      "127.0.0.1:0",
    ]),
  );
  for (const port of [origin, nginx, espalier]) await listening(port);
  const subjects: Subject[] = [
    { name: "nginx", pid: children[1]!.pid!, port: nginx },
    { name: "espalier", pid: children[2]!.pid!, port: espalier },
  ];
  for (const { name, path } of WORKLOADS) {
    const readings = await inTurns(subjects, path);
    report(name, subjects, readings);
  }
}

async function inTurns(
  subjects: readonly Subject[],
  path: string,
): Promise<Map<string, Reading[]>> {
  const rounds = option("--rounds", 5);
  const seconds = option("--seconds", 3);
  const readings = new Map<string, Reading[]>(subjects.map(({ name }) => [name, []]));
  for (const { port } of subjects) await wrk(1, `http://127.0.0.1:${port}${path}`, 2);
  for (let round = 0; round < rounds; round++) {
    for (const { name, pid, port } of subjects) {
      const before = cpuSeconds(pid);
      const result = await wrk(1, `http://127.0.0.1:${port}${path}`, seconds);
      const cpuMicros = ((cpuSeconds(pid) - before) * 1e6) / result.requests;
      readings.get(name)!.push({ ...result, cpuMicros });
    }
  }
  return readings;
}

function report(
  what: string,
  subjects: readonly Subject[],
  readings: Map<string, Reading[]>,
): void {
  console.log(`\n${what} (medians)`);
  const of = (name: string, value: (reading: Reading) => number): number =>
    median(readings.get(name)!.map(value));
  for (const { name, pid } of subjects) {
    const parts = [
      `${of(name, (r) => r.perSecond).toFixed(0)} requests/s`,
      `${of(name, (r) => r.cpuMicros).toFixed(1)} µs CPU per request`,
      `p99 ${of(name, (r) => r.p99Ms).toFixed(2)} ms`,
      `${rssMb(pid).toFixed(0)} MB`,
    ];
    console.log(`  ${name.padEnd(9)} ${parts.join(", ")}`);
  }
  const ratio = of("espalier", (r) => r.perSecond) / of("nginx", (r) => r.perSecond);
  const cpu = of("nginx", (r) => r.cpuMicros) / of("espalier", (r) => r.cpuMicros);
  console.log(
    `  espalier / nginx: ${ratio.toFixed(2)} × requests/s, ${cpu.toFixed(2)} × requests per CPU second`,
  );
}

await main();
