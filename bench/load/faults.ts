import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { EXPERIMENTS, type Experiment } from "#bench/faults/experiments.ts";
import { FaultWorld } from "#bench/faults/fault_world.ts";
import { type Figure, figuresOf, type Reading, textOf } from "#bench/faults/reading.ts";
import { perSecond } from "#bench/load/request_log.ts";
import { ROOT } from "#test/kit/processes.ts";

/*
 * A real tree under a constant load while something breaks: processes with mTLS between them, long ways, endpoints
 * whose capacity is a fact.
 *
 *   make faults ARGS="--only crash,drain --runs 5 --save"    --course: second by second
 *
 * Exit code 1 if a goal was missed.
 */

interface Row {
  readonly experiment: Experiment;
  readonly figures: readonly Figure[];
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

/** Second by second, of the last load. */
function tellCourse(world: FaultWorld): void {
  for (const [second, span] of perSecond(world.last!.log).entries()) {
    const { results, good, by } = span;
    const bad = Object.entries(results).filter(([name, count]) => name !== "2xx" && count > 0);
    const times = [50, 99, 100].map((percent) => (good.percentile(percent) / 1_000).toFixed(1));
    console.log(
      `    ${second} s: ${[...by].join(" ")}; ${bad.join(" ")}; p50 p99 max ${times.join(" ")} ms`,
    );
  }
}

async function rowOf(world: FaultWorld, experiment: Experiment): Promise<Row> {
  console.log(`\n${experiment.name}: ${experiment.what}`);
  const runs: Reading[][] = [];
  const times = Number(option("--runs") ?? experiment.runs);
  for (let i = 0; i < times; i++) {
    runs.push(await experiment.run(world));
    if (process.argv.includes("--course")) tellCourse(world);
  }
  const figures = figuresOf(runs);
  for (const figure of figures) console.log(`  ${textOf(figure)}`);
  return { experiment, figures };
}

function save(rows: readonly Row[]): void {
  const date = new Date().toISOString().slice(0, 10);
  const machine = `${cpus().length} CPUs (${cpus()[0]!.model}), load ${loadavg()[0]!.toFixed(1)}, Node ${process.version}`;
  const lines = rows.flatMap(({ experiment, figures }) => [
    `| **${experiment.name}**: ${experiment.what} | |`,
    ...figures.map((figure) => {
      const [name, rest] = textOf(figure).split(/: (.*)/) as [string, string];
      return `| ${name.trim()} | ${rest} |`;
    }),
  ]);
  const text = [`# ${date}: faults`, "", `${machine}. ✗: the goal was missed.`, ""];
  const dir = join(ROOT, "bench/results");
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `${date}-faults.md`);
  writeFileSync(file, [...text, "| | |", "|---|---|", ...lines, ""].join("\n"));
  console.log(`\nwritten to ${file}`);
}

const only = option("--only")?.split(",");
const chosen = EXPERIMENTS.filter(({ name }) => only?.some((part) => name.includes(part)) ?? true);
if (chosen.length === 0) throw new Error(`--only: none of ${EXPERIMENTS.map((e) => e.name)}`);
const world = await FaultWorld.open();
const rows: Row[] = [];
try {
  for (const experiment of chosen) rows.push(await rowOf(world, experiment));
} finally {
  await world.close();
}
if (process.argv.includes("--save")) save(rows);
if (rows.some(({ figures }) => figures.some(({ met }) => !met))) process.exitCode = 1;
