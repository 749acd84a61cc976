import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { type Played, save, tableOf } from "#bench/scale/routing_report.ts";
import { shortcomings } from "#test/sim/scale/judgement.ts";
import { RULES, type RuleName } from "#test/sim/scale/rule_names.ts";
import { simulate } from "#test/sim/scale/scale_world.ts";
import type { Scenario } from "#test/sim/scale/scenario.ts";
import { SCENARIOS } from "#test/sim/scale/scenarios.ts";
import type { Measured } from "#test/sim/scale/statistics.ts";

/*
 * The waterfall beside five other rules, in a simulated tree and under identical arrivals: `make sim`. Exit code 1 where it is
 * neither best nor tied. `--only NAME`, `--rule NAME`, `--seed N`, `--save`.
 */

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rule: { type: "string" },
    seed: { type: "string", default: "1" },
    save: { type: "boolean", default: false },
    /** Of the processes that this one starts: answers in JSON. */
    child: { type: "boolean", default: false },
  },
});
const seed = Number(values.seed);
const AT_ONCE = 2;

function chosen<T extends string>(all: readonly T[], name: string | undefined, what: string): T[] {
  if (name === undefined) return [...all];
  const found = all.filter((one) => one === name);
  if (found.length === 0) {
    console.error(`no ${what} ${name}: ${all.join(", ")}`);
    process.exit(2);
  }
  return found;
}

const names = new Set(
  chosen(
    SCENARIOS.map((scenario) => scenario.name),
    values.only,
    "scenario",
  ),
);
const scenarios = SCENARIOS.filter(({ name }) => names.has(name));
const rules = chosen(RULES, values.rule, "rule");

/** In a process of its own: they run on all cores, and no run inherits another one's heap. */
async function play(scenario: Scenario): Promise<Played> {
  const args = ["--only", scenario.name, "--seed", String(seed), "--child"];
  if (values.rule !== undefined) args.push("--rule", values.rule);
  const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`${scenario.name}: its process ended with ${code}`);
  return { scenario, results: new Map(JSON.parse(text) as [RuleName, Measured][]) };
}

async function playAll(): Promise<readonly Played[]> {
  const played = new Map<Scenario, Played>();
  const left = [...scenarios];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const one = await play(next);
      played.set(next, one);
      console.log(tableOf(one));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return scenarios.map((scenario) => played.get(scenario)!);
}

if (values.child) {
  const results = rules.map((rule) => [rule, simulate(scenarios[0]!, rule, seed)]);
  process.stdout.write(JSON.stringify(results));
} else {
  const played = await playAll();
  if (values.save) save(played, seed);
  const owed =
    values.rule !== undefined
      ? []
      : played.filter(({ results }) => shortcomings(results).length > 0);
  for (const { scenario, results } of owed) {
    console.log(`NOT BEST in ${scenario.name}: ${shortcomings(results).join("; ")}`);
  }
  process.exitCode = owed.length === 0 ? 0 : 1;
}
