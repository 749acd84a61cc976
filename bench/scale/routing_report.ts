import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "#test/kit/processes.ts";
import { isWorse, type Results, shortcomings } from "#test/sim/scale/judgement.ts";
import { plot } from "#test/sim/scale/plot.ts";
import type { Scenario } from "#test/sim/scale/scenario.ts";
import type { Measured } from "#test/sim/scale/statistics.ts";

/** One scenario under all rules. */
export interface Played {
  readonly scenario: Scenario;
  readonly results: Results;
}

const HEAD =
  "| rule | errors | p50 | p99 | p99.9 ms | paid links | recovered after | receivers' peak |\n|---|---|---|---|---|---|---|---|";

/** A table per scenario, the best of each column of those that are no worse than ours in errors and p99 in bold. */
export function tableOf({ scenario, results }: Played): string {
  const ours = results.get("waterfall");
  const rows = [...results].map(([rule, measured]) => {
    const name = rule === "waterfall" ? "**waterfall**" : rule;
    const isBehind = ours !== undefined && measured !== ours && isWorse(measured, ours);
    return `| ${name} | ${row(measured, isBehind)} |`;
  });
  const owed = ours === undefined || results.size === 1 ? [] : shortcomings(results);
  const verdict = owed.length === 0 ? "Best or tied." : `**Not best:** ${owed.join("; ")}.`;
  return `### ${scenario.name}\n\n${scenario.title}. ${verdict}\n\n${HEAD}\n${rows.join("\n")}\n`;
}

function row(measured: Measured, isBehind: boolean): string {
  const { errorShare, p50Ms, p99Ms, p999Ms, paidShare, recoverS, overshoot } = measured;
  const paid = `${(100 * paidShare).toFixed(1)} %`;
  return [
    `${(100 * errorShare).toFixed(2)} %`,
    ...[p50Ms, p99Ms, p999Ms].map((ms) => ms.toFixed(0)),
    // Who is worse otherwise owes nothing here and proves nothing.
    isBehind ? `(${paid})` : paid,
    recoverS === undefined ? "not" : `${recoverS} s`,
    `${overshoot.toFixed(1)} ×`,
  ].join(" | ");
}

/** Writes `bench/results/<date>-routing.md` and a plot per scenario. */
export function save(played: readonly Played[], seed: number): void {
  const folder = join(ROOT, "bench/results");
  const plots = join(folder, "routing");
  mkdirSync(plots, { recursive: true });
  for (const { scenario, results } of played) {
    writeFileSync(join(plots, `${scenario.name}.svg`), plot(scenario, results));
  }
  const date = new Date().toISOString().slice(0, 10);
  const sections = played.map(
    (one) => `${tableOf(one)}\n![${one.scenario.name}](routing/${one.scenario.name}.svg)\n`,
  );
  const text = `# Routing under faults, simulated

\`make sim ARGS="--save --seed ${seed}"\`: identical arrivals and work under six rules. Failures count at their deadline of one second.
Paid links in brackets: of a rule that is worse in errors or p99 (one that fails everything crosses no link).
What is compared: docs/routing/simulator.md.

${sections.join("\n")}`;
  writeFileSync(join(folder, `${date}-routing.md`), text);
}
