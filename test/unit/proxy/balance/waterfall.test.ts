import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Waterfall } from "#proxy/balance/waterfall.ts";
import { firstTurn, place, WaterfallWorld } from "#test/kit/waterfall_world.ts";

const DWELL_MS = 1_000;

describe("waterfall", () => {
  it("fills the cheapest and spills the rest in the order of cost", () => {
    const places = [place(10, { bears: 5 }), place(2, { bears: 3 }), place(30)];
    const { weights, shed } = firstTurn(places, 10);
    assert.deepEqual(weights, [0.5, 0.3, 0.2]);
    assert.deepEqual(shed, [0, 0, 0]);
  });

  it("sheds what nobody can bear, the least important first", () => {
    const places = [place(1, { bears: 3 }), place(2, { bears: 3 })];
    assert.deepEqual(firstTurn(places, 12), {
      weights: [0.5, 0.5],
      shed: [0, 0.5, 1],
      order: [0, 1],
    });
    assert.deepEqual(firstTurn(places, [2, 3, 4]).shed, [0, 0, 0.75]);
    assert.deepEqual(firstTurn(places, [4, 4, 4]).shed, [0, 0.5, 1]);
    assert.deepEqual(firstTurn(places, [12, 1, 0]).shed, [0.5, 1, 1]);
  });

  it("gives nothing to who bears nothing, and all is shed if that is everybody", () => {
    const full = place(1, { bears: 0 });
    assert.deepEqual(firstTurn([full, place(2)], 5).weights, [0, 1]);
    assert.deepEqual(firstTurn([full], 5), { weights: [0], shed: [1, 1, 1], order: [0] });
  });

  it("keeps its order inside the dead band", () => {
    const world = new WaterfallWorld([place(10), place(20)]);
    world.turn([place(10), place(20)], 1, 0);
    const near = world.settle([place(24), place(20)], 1, 5_000, 5_000);
    assert.deepEqual(near.order, [0, 1], "within 25 %");
    const small = world.settle([place(4.5), place(0.5)], 1, 10_000, 5_000);
    assert.deepEqual(small.order, [0, 1], "within 5 ms");
    const clear = world.settle([place(40), place(20)], 1, 15_000, 5_000);
    assert.deepEqual(clear.order, [1, 0]);
    assert.deepEqual(clear.weights, [0, 1]);
  });

  it("lets the local cluster win back its place as soon as it is cheaper", () => {
    const away = [place(50, { home: true }), place(6)];
    const world = new WaterfallWorld(away);
    assert.deepEqual(world.turn(away, 1, 0).weights, [0, 1]);
    const back = world.settle([place(5, { home: true }), place(6)], 1, 5_000, 3_000);
    assert.deepEqual(back.weights, [1, 0]);
  });

  it("dwells before it changes its order again, but leaves a dead locale at once", () => {
    const world = new WaterfallWorld([place(10), place(50)]);
    world.turn([place(10), place(50)], 1, 0);
    assert.deepEqual(world.turn([place(90), place(50)], 1, DWELL_MS).order, [1, 0]);
    const early = world.turn([place(10), place(50)], 1, DWELL_MS + 500);
    assert.deepEqual(early.order, [1, 0]);
    const dead = [place(10), place(50, { usable: false })];
    assert.deepEqual(world.turn(dead, 1, DWELL_MS + 600).weights, [1, 0]);
  });

  it("does not dwell where it turns out to be slower than it was taken for", () => {
    const world = new WaterfallWorld([place(10), place(50)]);
    world.turn([place(90), place(50)], 1, DWELL_MS);
    // Back, for a look: it is as slow as before.
    assert.deepEqual(world.turn([place(10), place(50)], 1, 3 * DWELL_MS).order, [0, 1]);
    assert.deepEqual(world.turn([place(90), place(50)], 1, 3 * DWELL_MS + 100).order, [1, 0]);
  });

  it("comes back by a ramp, not by a step", () => {
    const dead = [place(1, { usable: false }), place(50)];
    const world = new WaterfallWorld(dead);
    assert.deepEqual(world.turn(dead, 1, 0).weights, [0, 1]);
    const { weights } = world.turn([place(1), place(50)], 1, 100);
    assert.ok(Math.abs(weights[0]! - 0.1) < 1e-9, String(weights));
    assert.deepEqual(world.settle([place(1), place(50)], 1, 200, 1_000).weights, [1, 0]);
  });

  it("uses what is suspect only if there is nothing better, and what is stale later", () => {
    const suspect = place(1, { freshness: "suspect" });
    assert.deepEqual(firstTurn([suspect, place(900)], 1).weights, [0, 1]);
    assert.deepEqual(firstTurn([suspect, place(900)], 1).order, [1, 0]);
    assert.deepEqual(firstTurn([suspect], 1).weights, [1]);
    const stale = place(20, { freshness: "stale" });
    assert.deepEqual(firstTurn([stale, place(35)], 1).weights, [0, 1]);
  });

  it("follows what a policy says of dead band, dwell and ramp", () => {
    const rules = { deadBandShare: 0, deadBandMs: 1, dwellMs: 0, rampMs: 200 };
    const world = new WaterfallWorld([place(10), place(20)], rules);
    world.turn([place(10), place(20)], 1, 0);
    const { order, weights } = world.turn([place(10), place(8)], 1, 100);
    assert.deepEqual(
      [order, weights],
      [
        [1, 0],
        [0.5, 0.5],
      ],
    );
  });

  it("goes on from an earlier one: known locales as they were, new ones by the ramp", () => {
    const world = new WaterfallWorld([place(10), place(20)]);
    world.turn([place(10), place(20)], 1, 0);
    const places = [place(12), place(1), place(10)];
    const next = new WaterfallWorld(places);
    next.set(places);
    next.waterfall.takeOver(world.waterfall, Int32Array.of(1, -1, 0), 100);
    const { order, weights } = next.turn(places, 1, 100);
    assert.deepEqual(order, [1, 2, 0]);
    assert.ok(
      Math.abs(weights[1]! - 0.1) < 1e-9 && Math.abs(weights[2]! - 0.9) < 1e-9,
      `${weights}`,
    );
  });

  it("leaves a vector that it has handed out as it is, for a turn", () => {
    const world = new WaterfallWorld([place(10), place(20)]);
    const places = [place(10), place(20)];
    world.turn(places, 1, 0);
    const { weights } = world.waterfall;
    world.turn([place(10, { usable: false }), place(20)], 1, 100);
    assert.deepEqual([...weights.shares], [1, 0]);
    assert.equal(weights.at(0.5), 0);
  });

  it("draws each locale as often as it weighs", () => {
    const places = [place(1, { bears: 1 }), place(2, { bears: 2 }), place(3, { bears: 5 })];
    const world = new WaterfallWorld(places);
    world.turn(places, 8, 0);
    const counts = [0, 0, 0];
    for (let i = 0; i < 800; i++) counts[world.waterfall.weights.at((i + 0.5) / 800)]!++;
    assert.deepEqual(counts, [100, 200, 500]);
    assert.equal(new Waterfall(0, -1).weights.at(0), -1);
  });
});

describe("waterfall with parts", () => {
  const part = (share: number, ...members: number[]) => ({
    share,
    members: Uint8Array.from(members),
  });
  const places = (...bears: number[]) =>
    bears.map((most, i) => place(10 * (i + 1), { bears: most }));
  const byLocale = (weights: readonly number[], size: number): number[] =>
    Array.from({ length: size }, (_, i) =>
      weights.reduce((sum, weight, slot) => (slot % size === i ? sum + weight : sum), 0),
    );
  const split = [part(0.75, 0, 1, 0, 0), part(0.25, 0, 0, 1, 0)];

  it("splits by share, whatever is cheaper", () => {
    const all = places(99, 99, 99, 99);
    const { weights } = new WaterfallWorld(all, undefined, split).turn(all, 8, 0);
    assert.deepEqual(byLocale(weights, 4), [0, 0.75, 0.25, 0]);
  });

  it("gives what a part cannot take to the others, and then to whoever is left", () => {
    const down = places(99, 99, 99, 99);
    down[2] = place(30, { usable: false });
    const one = new WaterfallWorld(down, undefined, split).turn(down, 8, 0);
    assert.deepEqual(byLocale(one.weights, 4), [0, 1, 0, 0]);
    const full = places(99, 3, 3, 99);
    const rest = new WaterfallWorld(full, undefined, split).turn(full, 8, 0);
    assert.deepEqual(byLocale(rest.weights, 4), [0.25, 0.375, 0.375, 0]);
  });

  it("counts what a locale bears once, for whatever parts it serves", () => {
    const shared = [part(0.5, 1, 0), part(0.5, 1, 1)];
    const all = places(4, 99);
    const { weights } = new WaterfallWorld(all, undefined, shared).turn(all, 8, 0);
    assert.deepEqual(byLocale(weights, 2), [0.5, 0.5]);
  });

  it("obeys at once when the parts change", () => {
    const all = places(99, 99);
    const world = new WaterfallWorld(all);
    world.turn(all, 1, 0);
    const pinned = new WaterfallWorld(all, undefined, [part(1, 0, 1)]);
    pinned.set(all);
    pinned.waterfall.takeOver(world.waterfall, Int32Array.of(0, 1), 10);
    assert.deepEqual(byLocale(pinned.turn(all, 1, 10).weights, 2), [0, 1]);
  });
});
