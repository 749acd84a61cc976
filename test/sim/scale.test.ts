import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { EventQueue } from "#test/sim/scale/event_queue.ts";
import { shortcomings } from "#test/sim/scale/judgement.ts";
import { plot } from "#test/sim/scale/plot.ts";
import type { RuleName } from "#test/sim/scale/rule_names.ts";
import { simulate } from "#test/sim/scale/scale_world.ts";
import type { Scenario } from "#test/sim/scale/scenario.ts";
import { SCENARIOS } from "#test/sim/scale/scenarios.ts";
import type { Measured } from "#test/sim/scale/statistics.ts";

/** The same fault in a smaller world and a shorter time: `make sim` plays them whole. */
function short(name: string): Scenario {
  const scenario = SCENARIOS.find((one) => one.name === name)!;
  const { core, region, edge } = scenario.shape.rates;
  // Who is not near region 0 only makes noise.
  const rates = { core: core / 4, region: region / 2, edge };
  const shape = { ...scenario.shape, regions: 2, rates };
  return { ...scenario, shape, fromS: 10, untilS: 22, endS: 28 };
}

function under(name: string, rule: RuleName): Measured {
  return simulate(short(name), rule, 1);
}

describe("the waterfall in a simulated tree", () => {
  it("serves 150 % of what its cluster can do, without crushing the neighbours", () => {
    const ours = under("overload", "waterfall");
    const nearest = under("overload", "nearest");
    assert.ok(nearest.errorShare > 0.3, `the world is not overloaded: ${nearest.errorShare}`);
    assert.ok(ours.errorShare < 0.01, `errors ${ours.errorShare}`);
  });

  it("lets a poisoned endpoint attract no traffic", () => {
    const ours = under("poisoned-endpoint", "waterfall");
    const spread = under("poisoned-endpoint", "nearest");
    assert.ok(spread.errorShare > 0.1, `the endpoint is not poisonous: ${spread.errorShare}`);
    assert.ok(ours.errorShare < 0.01, `errors ${ours.errorShare}`);
  });

  it("comes to the same with clocks that differ by ten minutes", () => {
    const skewed = short("skewed-clocks");
    const ours = simulate(skewed, "waterfall", 2);
    const straight = simulate({ ...skewed, skewedClocks: false }, "waterfall", 2);
    assert.equal(ours.offered, straight.offered);
    assert.ok(Math.abs(ours.errorShare - straight.errorShare) < 0.002);
    assert.ok(Math.abs(ours.p99Ms - straight.p99Ms) < 0.1 * straight.p99Ms + 5);
  });

  it("is the same again with the same seed", () => {
    const { seconds: first } = under("slow-endpoint", "waterfall");
    assert.deepEqual(under("slow-endpoint", "waterfall").seconds, first);
  });
});

describe("the judgement of rules", () => {
  const measured = (errorShare: number, p99Ms: number, paidShare: number): Measured => ({
    ...{ offered: 1, errorShare, p50Ms: 1, p99Ms, p999Ms: 1, paidShare },
    ...{ recoverS: 0, overshoot: 1, seconds: [] },
  });
  const beside = (theirs: Measured): string[] =>
    shortcomings(
      new Map([
        ["waterfall", measured(0.01, 100, 0.2)],
        ["envoy", theirs],
      ]),
    );

  it("names who is better in errors or p99, beyond noise", () => {
    assert.equal(beside(measured(0.01, 100, 0.2)).length, 0);
    assert.equal(beside(measured(0.0095, 96, 0.2)).length, 0);
    assert.match(beside(measured(0.008, 100, 0.2)).join(), /^errors 1.00 %, envoy 0.80 %$/);
    assert.match(beside(measured(0.01, 80, 0.2)).join(), /^p99 100 ms, envoy 80$/);
  });

  it("compares paid links only with who is no worse otherwise", () => {
    assert.match(beside(measured(0.01, 100, 0.1)).join(), /^paid links/);
    assert.equal(beside(measured(0.5, 100, 0)).length, 0);
    assert.equal(beside(measured(0.01, 200, 0)).length, 0);
  });
});

describe("the queue of events", () => {
  it("lets them happen in the order of their times, and of their saying", () => {
    const queue = new EventQueue();
    const rng = seededRng(5);
    const seen: number[] = [];
    const said: number[] = [];
    for (let i = 0; i < 2_000; i++) {
      const at = rng.below(300);
      said.push(at * 10_000 + i);
      queue.at(at, () => seen.push(at * 10_000 + i));
    }
    queue.runUntil(300);
    assert.deepEqual(
      seen,
      said.sort((a, b) => a - b),
    );
  });
});

describe("plots", () => {
  it("are small", () => {
    const scenario = short("overload");
    const seconds = Array.from({ length: 110 }, (_, i) => ({
      ...{ offered: 1_000 + i, served: 900 + i, failed: 10 + (i % 7) },
      ...{ p99Ms: 100 + i, paid: (i % 10) / 10, load: (i % 13) / 5 },
    }));
    const one: Measured = {
      ...{ offered: 1, errorShare: 0, p50Ms: 1, p99Ms: 1, p999Ms: 1, paidShare: 0 },
      ...{ recoverS: 0, overshoot: 1, seconds },
    };
    const rules = ["waterfall", "envoy", "istio", "round-robin", "nearest", "latency"] as const;
    const svg = plot(scenario, new Map(rules.map((rule) => [rule, one])));
    assert.match(svg, /^<svg .*<\/svg>\n$/s);
    assert.ok(svg.length < 30_000, `${svg.length} bytes`);
  });
});
