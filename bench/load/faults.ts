import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { EXPERIMENTS, type Experiment } from "#bench/faults/experiments.ts";
import { FaultWorld } from "#bench/faults/fault_world.ts";
import { type Figure, figuresOf, type Reading, textOf } from "#bench/faults/reading.ts";
import { ROOT } from "#test/kit/processes.ts";

/*
 * A real tree under a constant load while something breaks: processes with mTLS between them, long ways, endpoints
 * whose capacity is a fact.
 *
 *   make faults ARGS="--only crash --runs 5 --save"
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

async function rowOf(world: FaultWorld, experiment: Experiment): Promise<Row> {
  console.log(`\n${experiment.name}: ${experiment.what}`);
  const runs: Reading[][] = [];
  const times = Number(option("--runs") ?? experiment.runs);
  for (let i = 0; i < times; i++) runs.push(await experiment.run(world));
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

const only = option("--only");
const chosen = EXPERIMENTS.filter(({ name }) => only === undefined || name.includes(only));
if (chosen.length === 0) throw new Error(`--only: none of ${EXPERIMENTS.map((e) => e.name)}`);
const world = await FaultWorld.open(false);
const rows: Row[] = [];
try {
  for (const experiment of chosen) rows.push(await rowOf(world, experiment));
} finally {
  await world.close();
}
if (process.argv.includes("--save")) save(rows);
if (rows.some(({ figures }) => figures.some(({ met }) => !met))) process.exitCode = 1;
