import { median } from "#bench/faults/measures.ts";

/** One figure of one run, and what it is to be. */
export interface Reading {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** Of several runs the worst counts, not the middle one. */
  readonly worst?: boolean;
  /** The goal: at most, or at least. Neither: it is told for its own sake. */
  readonly most?: number;
  readonly least?: number;
}

/** The same figure of all runs. */
export interface Figure extends Reading {
  readonly all: readonly number[];
  readonly met: boolean;
}

/** Joins the readings of several runs, by their names. */
export function figuresOf(runs: ReadonlyArray<readonly Reading[]>): Figure[] {
  return runs[0]!.map((first, i) => {
    const all = runs.map((run) => run[i]!.value);
    const isLeast = first.least !== undefined;
    const worst = isLeast ? Math.min(...all) : Math.max(...all);
    const value = first.worst === true ? worst : median(all);
    const { most, least } = first;
    // What could not be measured meets no goal.
    const met = (most === undefined || value <= most) && (least === undefined || value >= least);
    return { ...first, value, all, met };
  });
}

/** `p99 12.3 ms (≤ 15)`. */
export function textOf({ name, value, unit, most, least, all, met }: Figure): string {
  const goal = most !== undefined ? ` (≤ ${most})` : least !== undefined ? ` (≥ ${least})` : "";
  const each = all.length > 1 ? `, runs ${all.map(shown).join(" ")}` : "";
  return `${met ? " " : "✗"} ${name}: ${shown(value)} ${unit}${goal}${each}`;
}

function shown(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "never";
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1);
}
