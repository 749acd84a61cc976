import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { rssMb } from "#bench/load/cpu.ts";
import type { Measured, Reading } from "#bench/load/measure.ts";
import type { Workload } from "#bench/load/workloads.ts";
import { ROOT } from "#test/kit/processes.ts";

/** One peer under one load, as it is kept. */
export interface Line {
  readonly workload: string;
  readonly peer: string;
  readonly requestsPerSecond: number;
  readonly spreadPercent: number;
  readonly cpuMicrosPerRequest: number;
  /** Of each gateway of a chain, the client's first; absent: there is one. */
  readonly cpuMicrosEach?: readonly number[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMb: number;
  /** espalier's requests per CPU second over this one's. */
  readonly espalierPerCpuSecond?: number;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** Prints a workload's lines. */
export function report(workload: Workload, measured: readonly Measured[]): Line[] {
  const cpuOf = ({ cpuMicros }: Reading): number =>
    workload.measured === undefined
      ? cpuMicros.reduce((sum, each) => sum + each, 0)
      : cpuMicros[workload.measured]!;
  const own = measured.find(({ peer }) => peer.name === "espalier");
  const ours = own === undefined ? undefined : median(own.readings.map(cpuOf));
  const lines = measured.map(({ peer, chain, readings }): Line => {
    const of = (value: (reading: Reading) => number): number => median(readings.map(value));
    const speeds = readings.map(cpuOf);
    const cpu = of(cpuOf);
    const each = chain.pids.map((_, i) => Number(of((r) => r.cpuMicros[i]!).toFixed(1)));
    return {
      workload: workload.name,
      peer: peer.name,
      requestsPerSecond: Math.round(of((r) => r.perSecond)),
      spreadPercent: Math.round((100 * (Math.max(...speeds) - Math.min(...speeds))) / cpu),
      cpuMicrosPerRequest: Number(cpu.toFixed(cpu < 10 ? 2 : 1)),
      ...(each.length === 1 ? {} : { cpuMicrosEach: each }),
      p50Ms: Number(of((r) => r.p50Ms).toFixed(2)),
      p99Ms: Number(of((r) => r.p99Ms).toFixed(2)),
      rssMb: Math.round(Math.max(...chain.pids.map(rssMb))),
      ...(ours === undefined ? {} : { espalierPerCpuSecond: Number((cpu / ours).toFixed(2)) }),
    };
  });
  for (const line of lines) console.log(textOf(line, workload));
  return lines;
}

function textOf(line: Line, { answerBytes, requestBytes = 0 }: Workload): string {
  const { peer, cpuMicrosPerRequest: cpu, cpuMicrosEach, espalierPerCpuSecond: ratio } = line;
  const bytes = Math.max(answerBytes, requestBytes);
  return [
    `  ${peer.padEnd(17)} ${String(line.requestsPerSecond).padStart(7)}/s`,
    `${cpu.toFixed(cpu < 10 ? 2 : 1).padStart(7)} µs CPU ±${line.spreadPercent} %`,
    `p50 ${line.p50Ms.toFixed(2)} p99 ${line.p99Ms.toFixed(2)} ms`,
    `${line.rssMb} MB`,
    ...(cpuMicrosEach === undefined ? [] : [`each ${cpuMicrosEach.join(" + ")} µs`]),
    ...(bytes < 100_000 ? [] : [`${(bytes / cpu / 1_000).toFixed(2)} GB/CPU s`]),
    ...(ratio === undefined || peer === "espalier" ? [] : [`espalier × ${ratio}`]),
  ].join("  ");
}

/** Writes `bench/results/DATE.json`. */
export function save(lines: readonly Line[], others: readonly string[]): void {
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
