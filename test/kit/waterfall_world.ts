import type { Freshness } from "#model/snapshot.ts";
import {
  agedCost,
  LAST_RESORT,
  OUT,
  READY,
  Waterfall,
  type WaterfallPart,
  type WaterfallRules,
} from "#proxy/balance/waterfall.ts";

/** A locale as the waterfall sees it. */
export interface Place {
  readonly cost: number;
  readonly bears: number;
  readonly usable: boolean;
  readonly freshness: Freshness;
  readonly home: boolean;
}

/** One that bears anything, unless `change` says otherwise. */
export function place(cost: number, change: Partial<Place> = {}): Place {
  return {
    cost,
    bears: Number.POSITIVE_INFINITY,
    usable: true,
    freshness: "fresh",
    home: false,
    ...change,
  };
}

/** A waterfall over places that may change from turn to turn. */
export class WaterfallWorld {
  readonly waterfall: Waterfall;

  constructor(places: readonly Place[], rules?: WaterfallRules, parts?: readonly WaterfallPart[]) {
    const home = places.findIndex((one) => one.home);
    this.waterfall = new Waterfall(places.length, home, rules, parts);
  }

  /** @param demand concurrent requests: all of the default class, or by class. */
  turn(places: readonly Place[], demand: number | readonly number[], now: number): Turn {
    const byClass = typeof demand === "number" ? [0, demand, 0] : demand;
    this.set(places);
    const { shares, shed } = this.waterfall.turn(Float64Array.from(byClass), now);
    return { weights: [...shares], shed: [...shed], order: [...this.waterfall.order.ranked] };
  }

  /** What goes in at the next turn. */
  set(places: readonly Place[]): void {
    const { cost, bears, standing, last } = this.waterfall;
    places.forEach((one, i) => {
      const isSuspect = one.freshness === "suspect";
      cost[i] = agedCost(one.cost, one.freshness);
      bears[i] = one.bears;
      standing[i] = one.usable ? (isSuspect ? LAST_RESORT : READY) : OUT;
      last[i] = isSuspect ? 1 : 0;
    });
  }

  /** The last of the turns from `from` on for `ms`, all with the same inputs. */
  settle(
    places: readonly Place[],
    demand: number | readonly number[],
    from: number,
    ms: number,
  ): Turn {
    let turn = this.turn(places, demand, from);
    for (let now = from + 100; now <= from + ms; now += 100) turn = this.turn(places, demand, now);
    return turn;
  }
}

/** What a turn has come to. */
export interface Turn {
  readonly weights: readonly number[];
  readonly shed: readonly number[];
  readonly order: readonly number[];
}

/** The first turn of a waterfall over these places. */
export function firstTurn(places: readonly Place[], demand: number | readonly number[]): Turn {
  return new WaterfallWorld(places).turn(places, demand, 0);
}
