import { digitsDown, heldStep, stepDown } from "#control/catalog/loads.ts";

/** Of whatever is divided, what goes to those who do not ask for it yet. */
export const FLOOR_SHARE = 0.1;

/** What claimants want, equal wants together: a thousand children are a few numbers. */
export class Wants {
  readonly #counts = new Map<number, number>();
  #sorted: readonly number[] | undefined = undefined;
  /** How many claim. */
  claimants = 0;
  sum = 0;

  /** @param times so many claimants want it. */
  add(want: number, times = 1): void {
    if (times === 0) return;
    this.#counts.set(want, (this.#counts.get(want) ?? 0) + times);
    this.#sorted = undefined;
    this.claimants += times;
    this.sum += want * times;
  }

  /** Each want and how often it is there, the smallest first. */
  *ascending(): Iterable<readonly [want: number, count: number]> {
    this.#sorted ??= [...this.#counts.keys()].sort((a, b) => a - b);
    for (const want of this.#sorted) yield [want, this.#counts.get(want)!];
  }
}

/** How a total is divided over many: by its want, each can tell what it gets. */
export interface Level {
  /** Who wants less gets this. */
  readonly floor: number;
  /** Who wants more gets this. */
  readonly cap: number;
  /** Comes on top for all. */
  readonly extra: number;
}

/** Nothing for anybody. */
export const NOTHING: Level = { floor: 0, cap: 0, extra: 0 };
/** Nobody is limited. */
const BOUNDLESS: Level = { floor: 0, cap: 0, extra: Number.POSITIVE_INFINITY };

/**
 * Divides `total` as `allot` does, over all of `wants` but one claimant who wants `except`; a tenth of it is floors.
 * In steps downwards, so that it is seldom news. Costs as much as there are different wants.
 */
export function levelOf(total: number, wants: Wants, except?: number): Level {
  let open = wants.claimants - (except === undefined ? 0 : 1);
  if (open === 0 || total <= 0) return NOTHING;
  if (total === Number.POSITIVE_INFINITY) return BOUNDLESS;
  const claimants = open;
  const floor = (FLOOR_SHARE * total) / claimants;
  let left = total;
  for (const [want, all] of wants.ascending()) {
    const count = all - (want === except ? 1 : 0);
    const given = Math.max(want, floor);
    if (given * open > left)
      return { floor: stepDown(floor), cap: stepDown(left / open), extra: 0 };
    left -= given * count;
    open -= count;
  }
  const extra = stepDown(left / claimants);
  return { floor: stepDown(floor), cap: Number.POSITIVE_INFINITY, extra };
}

/** A level that holds to what it was where that is no more and about the same: nobody gets more by it. */
export function heldLevel(level: Level, before: Level | undefined): Level {
  if (before === undefined) return level;
  return {
    floor: heldStep(level.floor, before.floor),
    cap: heldStep(level.cap, before.cap),
    extra: heldStep(level.extra, before.extra),
  };
}

/** What a claimant gets. */
export function partOf({ floor, cap, extra }: Level, want: number): number {
  return digitsDown(Math.min(Math.max(want, floor), cap) + extra);
}
