import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import {
  DWELL_MS,
  type WaterfallInput,
  type WaterfallState,
  waterfall,
} from "#proxy/balance/waterfall.ts";

const place = (cost: number, change: Partial<WaterfallInput> = {}): WaterfallInput => ({
  cost,
  capacity: Number.POSITIVE_INFINITY,
  usable: true,
  freshness: "fresh",
  home: false,
  ...change,
});

/** The state after `ms` of the same inputs. */
function settle(
  inputs: readonly WaterfallInput[],
  demand: number,
  before: WaterfallState | undefined,
  from: number,
  ms: number,
): WaterfallState {
  let state = before;
  for (let now = from; now <= from + ms; now += 100) state = waterfall(inputs, demand, state, now);
  return state!;
}

describe("waterfall", () => {
  it("fills the cheapest and spills the rest in the order of cost", () => {
    const inputs = [place(10, { capacity: 5 }), place(2, { capacity: 3 }), place(30)];
    const { weights, shed } = waterfall(inputs, 10, undefined, 0);
    assert.deepEqual(weights, [0.5, 0.3, 0.2]);
    assert.equal(shed, 0);
  });

  it("sheds what nobody can bear", () => {
    const inputs = [place(1, { capacity: 3 }), place(2, { capacity: 3 })];
    const { weights, shed } = waterfall(inputs, 12, undefined, 0);
    assert.deepEqual(weights, [0.5, 0.5]);
    assert.equal(shed, 0.5);
  });

  it("keeps its order inside the dead band", () => {
    const first = waterfall([place(10), place(20)], 1, undefined, 0);
    const near = settle([place(24), place(20)], 1, first, 5_000, 5_000);
    assert.deepEqual(near.order, [0, 1], "within 25 %");
    const small = settle([place(4.5), place(0.5)], 1, first, 5_000, 5_000);
    assert.deepEqual(small.order, [0, 1], "within 5 ms");
    const clear = settle([place(40), place(20)], 1, first, 5_000, 5_000);
    assert.deepEqual(
      [clear.order, clear.weights],
      [
        [1, 0],
        [0, 1],
      ],
    );
  });

  it("lets the local cluster win back its place as soon as it is cheaper", () => {
    const away = waterfall([place(50, { home: true }), place(6)], 1, undefined, 0);
    assert.deepEqual(away.weights, [0, 1]);
    const back = settle([place(5, { home: true }), place(6)], 1, away, 5_000, 3_000);
    assert.deepEqual(back.weights, [1, 0]);
  });

  it("dwells before it changes its order again, but leaves a dead locale at once", () => {
    let state = waterfall([place(10), place(50)], 1, undefined, 0);
    state = waterfall([place(90), place(50)], 1, state, DWELL_MS);
    assert.deepEqual(state.order, [1, 0]);
    const early = waterfall([place(10), place(50)], 1, state, DWELL_MS + 500);
    assert.deepEqual(early.order, [1, 0]);
    const dead = waterfall([place(10), place(50, { usable: false })], 1, early, DWELL_MS + 600);
    assert.deepEqual(dead.weights, [1, 0]);
  });

  it("comes back by a ramp, not by a step", () => {
    let state = waterfall([place(1, { usable: false }), place(50)], 1, undefined, 0);
    assert.deepEqual(state.weights, [0, 1]);
    state = waterfall([place(1), place(50)], 1, state, 100);
    assert.ok(Math.abs(state.weights[0]! - 0.1) < 1e-9, String(state.weights));
    state = settle([place(1), place(50)], 1, state, 200, 1_000);
    assert.deepEqual(state.weights, [1, 0]);
  });

  it("uses what is suspect only if there is nothing better, and what is stale later", () => {
    const suspect = place(1, { freshness: "suspect" });
    assert.deepEqual(waterfall([suspect, place(900)], 1, undefined, 0).weights, [0, 1]);
    assert.deepEqual(waterfall([suspect], 1, undefined, 0).weights, [1]);
    const stale = place(20, { freshness: "stale" });
    assert.deepEqual(waterfall([stale, place(35)], 1, undefined, 0).weights, [0, 1]);
  });

  it("keeps its promises whatever the inputs", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const rng = seededRng(seed);
      const count = 1 + rng.below(6);
      let state: WaterfallState | undefined;
      for (let now = 0; now < 5_000; now += 100) {
        const inputs = Array.from({ length: count }, () =>
          place(rng.next() * 200, {
            capacity: rng.next() < 0.5 ? Number.POSITIVE_INFINITY : rng.below(20),
            usable: rng.next() < 0.8,
            freshness: (["fresh", "stale", "suspect"] as const)[rng.below(3)]!,
          }),
        );
        state = waterfall(inputs, rng.below(30), state, now);
        const sum = state.weights.reduce((a, b) => a + b, 0);
        assert.ok(
          state.weights.every((weight) => weight >= 0),
          `seed ${seed}`,
        );
        assert.ok(Math.abs(sum - 1) < 1e-9 || sum === 0, `seed ${seed}: sum ${sum}`);
        if (sum > 0) {
          for (const [i, input] of inputs.entries()) {
            if (!input.usable) assert.equal(state.weights[i], 0, `seed ${seed}: unusable ${i}`);
          }
        }
      }
    }
  });
});
