import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { Peer } from "#bench/load/hop.ts";
import { Measuring } from "#bench/load/measure.ts";
import { memoryLine } from "#bench/load/memory.ts";
import { groundOf, startOrigins } from "#bench/load/origins.ts";
import { PEERS_OF_THE_BENCH } from "#bench/load/peers.ts";
import { isInstalled } from "#bench/load/programs.ts";
import { type Line, report, save } from "#bench/load/report.ts";
import { workloads } from "#bench/load/workloads.ts";
import { admitLines } from "#bench/micro/admit.ts";
import { codecLines } from "#bench/micro/codec.ts";
import { decisionLines } from "#bench/micro/decisions.ts";
import { http2Lines } from "#bench/micro/http2.ts";
import { engineLines } from "#bench/micro/http2_engine.ts";
import { pickerLines } from "#bench/micro/pickers.ts";

/*
 * espalier proxy beside its peers: the same origins, the same load, one after the other in turns, the
 * proxies on one CPU, load and origins on another. Prints medians, spreads and ratios, and writes them
 * to bench/results/*.json; the machine is shared and noisy, so compare ratios.
 *
 *   make bench ARGS='--rounds 5 --seconds 5 --only TLS --peers espalier,envoy'
 *
 * --quick is one round of one second: it shows that everything works, not how quick it is. With --only or --quick there
 * are no micro benchmarks.
 */

const PROXY_CPU = 0;
const LOAD_CPU = 1;

function option(name: string, otherwise: string): string {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? otherwise);
}

async function main(): Promise<void> {
  const missing = ["wrk", "nginx", "taskset"].filter((program) => !isInstalled(program));
  const isWhole = option("--only", "") === "" && !process.argv.includes("--quick");
  const micro = isWhole
    ? [
        ...[...codecLines(), ...http2Lines(), ...engineLines()],
        ...[...decisionLines(), ...pickerLines(), ...admitLines()],
      ]
    : [];
  if (isWhole) console.log(["per call (medians)", ...micro].join("\n"));
  if (missing.length > 0 || cpus().length < 2) {
    const what = missing.length > 0 ? `, and on PATH: ${missing.join(", ")}` : "";
    console.log(`\nno load test: it needs two CPUs${what} (make bench-peers installs them)`);
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), "espalier-bench-"));
  const children: ChildProcess[] = [];
  try {
    const { lines, origin } = await measure(dir, children);
    const others = [...micro];
    if (isWhole) others.push(await memoryLine(dir, origin));
    console.log(`\n${others.at(-1) ?? ""}`);
    if (process.argv.includes("--save")) save(lines, others);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The peers that are here, or are asked for. */
function peersHere(): Peer[] {
  const asked = option("--peers", "");
  return PEERS_OF_THE_BENCH.filter(({ name, missing }) => {
    if (asked !== "" && !asked.split(",").includes(name)) return false;
    if (missing !== undefined) console.log(`without ${name}: ${missing}`);
    return missing === undefined;
  });
}

async function measure(
  dir: string,
  children: ChildProcess[],
): Promise<{ lines: Line[]; origin: number }> {
  const quick = process.argv.includes("--quick");
  const origins = await startOrigins(dir, LOAD_CPU, children);
  const ground = await groundOf(dir, PROXY_CPU);
  const measuring = new Measuring({
    ...{ dir, loadCpu: LOAD_CPU, ground, origins, children },
    rounds: Number(option("--rounds", quick ? "1" : "3")),
    seconds: Number(option("--seconds", quick ? "1" : "3")),
  });
  const peers = peersHere();
  const only = option("--only", "");
  const lines: Line[] = [];
  let halfLoad = 10_000;
  for (const [index, { name }] of workloads(dir, halfLoad).entries()) {
    if (!name.includes(only)) continue;
    // By then it is known what espalier can bear.
    const workload = workloads(dir, halfLoad)[index]!;
    console.log(`\n${workload.name} (medians)`);
    const found = report(workload, await measuring.inTurns(workload, peers));
    lines.push(...found);
    if (index === 0) halfLoad = Math.round(found[0]!.requestsPerSecond / 2_000) * 1_000;
  }
  return { lines, origin: origins.http1 };
}

await main();
