import type { RuleName } from "#test/sim/scale/rule_names.ts";
import type { Measured } from "#test/sim/scale/statistics.ts";

/** Differences below these are noise: of p99 a share or ms, of errors and paid links a share of the requests. */
const NOISE = { p99Share: 0.05, p99Ms: 1, errors: 0.001, paid: 0.01 } as const;
/** Of the least traffic on paid links of a rule that is no worse otherwise. */
const PAID_FACTOR = 1.2;

export type Results = ReadonlyMap<RuleName, Measured>;

/** What our rule owes in this scenario; empty: it is best or tied in all. */
export function shortcomings(results: Results): string[] {
  const ours = results.get("waterfall")!;
  const others = [...results].filter(([name]) => name !== "waterfall");
  const found: string[] = [];
  for (const [name, theirs] of others) {
    if (hasMoreErrors(ours, theirs)) {
      found.push(`errors ${percent(ours.errorShare)}, ${name} ${percent(theirs.errorShare)}`);
    }
    if (isSlower(ours, theirs)) {
      found.push(`p99 ${ours.p99Ms.toFixed(0)} ms, ${name} ${theirs.p99Ms.toFixed(0)}`);
    }
    // Who fails everything crosses no link: only those that are no worse are measured against.
    if (isWorse(theirs, ours)) continue;
    const most = Math.max(theirs.paidShare * PAID_FACTOR, theirs.paidShare + NOISE.paid);
    if (ours.paidShare > most) {
      found.push(`paid links ${percent(ours.paidShare)}, ${name} ${percent(theirs.paidShare)}`);
    }
  }
  return found;
}

/** True if `a` is beyond noise worse than `b` in errors or p99. */
export function isWorse(a: Measured, b: Measured): boolean {
  return hasMoreErrors(a, b) || isSlower(a, b);
}

function hasMoreErrors(a: Measured, b: Measured): boolean {
  return a.errorShare > b.errorShare + NOISE.errors;
}

function isSlower(a: Measured, b: Measured): boolean {
  return a.p99Ms > b.p99Ms * (1 + NOISE.p99Share) && a.p99Ms > b.p99Ms + NOISE.p99Ms;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
