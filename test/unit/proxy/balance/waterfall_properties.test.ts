import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { type Place, place, WaterfallWorld } from "#test/kit/waterfall_world.ts";

const CASES = 2_000;
const FRESHNESS = ["fresh", "stale", "suspect"] as const;
/** For sums of shares. */
const NEARLY = 1e-9;

function anyPlaces(rng: Rng, count: number): Place[] {
  const home = rng.below(count + 1);
  return Array.from({ length: count }, (_, i) =>
    place(0.5 + rng.next() * 200, {
      bears: rng.next() < 0.4 ? Number.POSITIVE_INFINITY : rng.below(3) * rng.next() * 20,
      usable: rng.next() < 0.8,
      freshness: FRESHNESS[rng.below(3)]!,
      home: i === home,
    }),
  );
}

/** The same places, some of them changed. */
function changed(places: readonly Place[], rng: Rng): Place[] {
  return places.map((one) => {
    if (rng.next() < 0.5) return one;
    const { cost, bears, usable } = anyPlaces(rng, 1)[0]!;
    return {
      ...one,
      cost: rng.next() < 0.5 ? cost : one.cost * (0.7 + rng.next() * 0.6),
      bears,
      usable,
    };
  });
}

const anyDemand = (rng: Rng): number[] => [
  rng.below(3) * rng.next() * 9,
  rng.next() * 30,
  rng.below(20),
];

/** Some turns of a changing world, each looked at. */
function eachTurn(
  seed: number,
  look: (world: WaterfallWorld, places: readonly Place[], demand: number[], now: number) => void,
): void {
  const rng = seededRng(seed);
  let places = anyPlaces(rng, 1 + rng.below(7));
  const world = new WaterfallWorld(places);
  for (let now = 0, turn = 0; turn < 8; turn++, now += 20 + rng.below(900)) {
    look(world, places, anyDemand(rng), now);
    places = changed(places, rng);
  }
}

describe("the waterfall, whatever comes", () => {
  it("gives weights that are not negative and sum to 1, or all is shed or nobody is there", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      eachTurn(seed, (world, places, demand, now) => {
        const { weights, shed } = world.turn(places, demand, now);
        const sum = weights.reduce((a, b) => a + b, 0);
        assert.ok(
          weights.every((weight) => weight >= 0),
          `seed ${seed}: ${weights}`,
        );
        assert.ok(
          shed.every((share) => share >= 0 && share <= 1),
          `seed ${seed}: ${shed}`,
        );
        if (Math.abs(sum - 1) < NEARLY) return;
        assert.equal(sum, 0, `seed ${seed}`);
        const isAnybodyThere = places.some(({ usable, bears }) => usable && bears > 0);
        if (isAnybodyThere) {
          // What is only there in the last resort counts as nobody while others are there that are full.
          assert.deepEqual(shed, [1, 1, 1], `seed ${seed}`);
        }
      });
    }
  });

  it("gives nothing to who is out, or full, or suspect beside others", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      eachTurn(seed, (world, places, demand, now) => {
        const { weights } = world.turn(places, demand, now);
        const isBetter = places.some(({ usable, freshness }) => usable && freshness !== "suspect");
        places.forEach(({ usable, bears, freshness }, i) => {
          const mayTake = usable && bears > 0 && !(isBetter && freshness === "suspect");
          if (!mayTake) assert.equal(weights[i], 0, `seed ${seed}: ${i}`);
        });
      });
    }
  });

  it("sheds of a class only if all of the next one is shed", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      eachTurn(seed, (world, places, demand, now) => {
        const { shed } = world.turn(places, demand, now);
        for (const at of [0, 1]) {
          if (shed[at]! > NEARLY) assert.ok(shed[at + 1]! > 1 - NEARLY, `seed ${seed}: ${shed}`);
        }
      });
    }
  });

  it("gives equal vectors for equal inputs", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      const twins = new Map<WaterfallWorld, WaterfallWorld>();
      eachTurn(seed, (world, places, demand, now) => {
        const twin = twins.get(world) ?? new WaterfallWorld(places);
        twins.set(world, twin);
        assert.deepEqual(world.turn(places, demand, now), twin.turn(places, demand, now));
      });
    }
  });

  it("gives a place never less because it bears more", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      const rng = seededRng(seed);
      const places = anyPlaces(rng, 1 + rng.below(7));
      const demand = anyDemand(rng);
      const at = rng.below(places.length);
      const more = places.map((one, i) =>
        i === at ? { ...one, bears: one.bears + rng.below(9) } : one,
      );
      const before = changed(places, rng);
      const weightOf = (now: readonly Place[]): number => {
        const world = new WaterfallWorld(places);
        world.turn(before, demand, 0);
        world.settle(now, demand, 100, 1_500);
        return world.turn(now, demand, 5_000).weights[at]!;
      };
      assert.ok(weightOf(more) >= weightOf(places) - NEARLY, `seed ${seed}: place ${at}`);
    }
  });

  it("never changes the order of two whose costs differ by less than the dead band, but for the one at home", () => {
    for (let seed = 1; seed <= CASES; seed++) {
      let before: readonly number[] = [];
      eachTurn(seed, (world, places, demand, now) => {
        const { order } = world.turn(places, demand, now);
        const { cost, last, home } = world.waterfall;
        const rank = (of: readonly number[], i: number): number => of.indexOf(i);
        if (before.length > 0) {
          for (let a = 0; a < places.length; a++) {
            for (let b = 0; b < places.length; b++) {
              const wasBefore = rank(before, a) < rank(before, b);
              if (a === b || a === home || b === home || last[a] !== last[b]) continue;
              const isNear = cost[b]! >= cost[a]! * 0.75 || cost[a]! - cost[b]! <= 5;
              if (!wasBefore || !isNear) continue;
              assert.ok(
                rank(order, a) < rank(order, b),
                `seed ${seed}: ${b} (${cost[b]}) before ${a} (${cost[a]})`,
              );
            }
          }
        }
        before = order;
      });
    }
  });
});
