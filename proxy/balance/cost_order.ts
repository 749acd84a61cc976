import type { Millis } from "#kernel/brand.ts";

/** When a locale overtakes another. */
export interface OrderRules {
  /** It has to be cheaper by this share of the other's cost … */
  readonly deadBandShare: number;
  /** … and by this much. */
  readonly deadBandMs: Millis;
  /** How long an order stands before it may change again. */
  readonly dwellMs: Millis;
}

/** What locales are compared by. */
export interface Costs {
  /** Expected response time through each, ms, price included. */
  readonly cost: Float64Array;
  /** Not 0: it comes after all others, whatever it costs. */
  readonly last: Uint8Array;
  /** The local one; -1: there is none. */
  readonly home: number;
}

/**
 * Locales from the cheapest to the dearest, with hysteresis. Neighbours inside the dead band keep their
 * places; only the local one comes back as soon as it is cheaper at all.
 */
export class CostOrder {
  /** Their indexes. Not to be written to. */
  readonly ranked: Uint32Array;
  /** What each cost when the order last changed. */
  readonly #then: Float64Array;
  #changedAt: Millis = 0;
  #begun = false;

  constructor(size: number) {
    this.ranked = new Uint32Array(size);
    this.#then = new Float64Array(size);
  }

  /**
   * Puts the locales of an earlier order first as they stood, and those that are new between them by cost.
   * @param known the index there of each locale here; -1: it is new.
   */
  takeOver(before: CostOrder, known: Int32Array, { cost, last }: Costs, now: Millis): void {
    const here = new Int32Array(before.ranked.length).fill(-1);
    const news: number[] = [];
    known.forEach((old, i) => {
      if (old >= 0) here[old] = i;
      else news.push(i);
    });
    const olds = Array.from(before.ranked, (old) => here[old]!).filter((i) => i >= 0);
    const isBefore = (a: number, b: number): boolean =>
      last[a] === last[b] ? cost[a]! < cost[b]! : last[a] === 0;
    news.sort((a, b) => (isBefore(a, b) ? -1 : isBefore(b, a) ? 1 : a - b));
    for (let at = 0, o = 0, n = 0; at < this.ranked.length; at++) {
      const isNew = o === olds.length || (n < news.length && isBefore(news[n]!, olds[o]!));
      this.ranked[at] = isNew ? news[n++]! : olds[o++]!;
    }
    known.forEach((old, i) => {
      this.#then[i] = old < 0 ? cost[i]! : before.#then[old]!;
    });
    // Nothing had an order to keep: it is what comes from seeds alone, and need not dwell.
    this.#changedAt = olds.length === 0 ? now : before.#changedAt;
    this.#begun = true;
  }

  /** Looks at the costs of now. */
  follow(costs: Costs, rules: OrderRules, now: Millis): void {
    if (!this.#begun) {
      this.takeOver(NOTHING, new Int32Array(this.ranked.length).fill(-1), costs, now);
      return;
    }
    const { ranked } = this;
    const { last } = costs;
    const isSettled = now - this.#changedAt >= rules.dwellMs;
    let changed = false;
    for (let i = 1; i < ranked.length; i++) {
      const moving = ranked[i]!;
      let to = i;
      while (to > 0) {
        const other = ranked[to - 1]!;
        if (last[moving] === last[other]) {
          if (!this.#overtakes(moving, other, costs, rules)) break;
          if (!isSettled && !this.#isDearer(other, costs.cost, rules)) break;
        } else if (last[moving] !== 0) break;
        ranked[to] = other;
        to--;
      }
      if (to === i) continue;
      ranked[to] = moving;
      changed = true;
    }
    if (!changed) return;
    this.#changedAt = now;
    this.#then.set(costs.cost);
  }

  #overtakes(a: number, b: number, { cost, home }: Costs, rules: OrderRules): boolean {
    const costA = cost[a]!;
    const costB = cost[b]!;
    if (a === home) return costA < costB;
    return costA < costB * (1 - rules.deadBandShare) && costB - costA > rules.deadBandMs;
  }

  /** It turns out to be worse than it was taken for: that cannot wait until the order may change again. */
  #isDearer(i: number, cost: Float64Array, rules: OrderRules): boolean {
    const then = this.#then[i]!;
    return then < cost[i]! * (1 - rules.deadBandShare) && cost[i]! - then > rules.deadBandMs;
  }
}

const NOTHING = new CostOrder(0);
