import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { makePicker } from "#proxy/balance/endpoint_picker.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { PickAsk } from "#proxy/balance/reach.ts";
import { ejectUntil, localeOf } from "#test/kit/endpoints.ts";

const ANY: PickAsk = { tried: [], reach: "healthy", hash: undefined };

/**
 * Requests of `seconds`, 200 in each, that take what `latencyMs` says.
 * @returns the part of the last second's requests that stayed in zone a.
 */
function keptAt(
  endpoints: readonly EndpointState[],
  seconds: number,
  latencyMs: (near: boolean, lastKept: number) => number,
): number {
  const picker = makePicker({ zoneAware: true }, endpoints, { zone: "a", seed: 1 });
  const rng = seededRng(8);
  let kept = 1;
  for (let second = 0; second < seconds; second++) {
    let near = 0;
    for (let i = 0; i < 200; i++) {
      const now = second * 1_000 + i * 5;
      const endpoint = picker.pick(ANY, now, rng)!;
      const isNear = endpoint.endpoint.zone === "a";
      if (isNear) near++;
      endpoint.praise(latencyMs(isNear, kept), now);
    }
    kept = near / 200;
  }
  return kept;
}

describe("zone preference", () => {
  const even = ["a", "a", "a", "b", "b", "b"];

  it("keeps requests in the zone while that does as well as the others", () => {
    const { endpoints } = localeOf([1, 1, 1, 1, 1, 1], even);
    assert.ok(keptAt(endpoints, 30, () => 5) > 0.95);
  });

  it("does not leave for noise, nor because what is busy is seen at its worst more often", () => {
    const { endpoints } = localeOf([1, 1, 1, 1, 1, 1], even);
    const rng = seededRng(3);
    // One in twenty takes ten times as long.
    const kept = keptAt(endpoints, 60, () => (rng.below(20) === 0 ? 50 : 5));
    assert.ok(kept > 0.7, `${kept}`);
  });

  it("gives up what the zone does not bear, and no more", () => {
    const { endpoints } = localeOf([1, 1, 1, 1, 1, 1], even);
    // The zone's endpoints bear half of it: beyond that, waits grow.
    const kept = keptAt(endpoints, 120, (near, lastKept) =>
      near ? 5 + 100 * Math.max(0, lastKept - 0.5) : 5,
    );
    assert.ok(kept > 0.35 && kept < 0.65, `${kept}`);
  });

  it("comes back when the zone is well again", () => {
    const { endpoints } = localeOf([1, 1, 1, 1, 1, 1], even);
    const picker = makePicker({ zoneAware: true }, endpoints, { zone: "a", seed: 1 });
    const rng = seededRng(8);
    const keptIn = (from: number, to: number, slowMs: number): number => {
      let near = 0;
      for (let now = from; now < to; now += 5) {
        const endpoint = picker.pick(ANY, now, rng)!;
        const isNear = endpoint.endpoint.zone === "a";
        if (isNear) near++;
        endpoint.praise(isNear ? slowMs : 5, now);
      }
      return near / ((to - from) / 5);
    };
    keptIn(0, 60_000, 80);
    assert.ok(keptIn(60_000, 70_000, 80) < 0.05);
    keptIn(70_000, 270_000, 5);
    assert.ok(keptIn(270_000, 280_000, 5) > 0.95);
  });

  it("begins with what the zone's part of the endpoints bears of an equal part of the demand", () => {
    // Two of ten endpoints for one of three zones: 20 % for 33 %.
    const zones = ["a", "a", "b", "b", "b", "b", "c", "c", "c", "c"];
    const { endpoints } = localeOf(new Array(10).fill(1), zones);
    const kept = keptAt(endpoints, 1, () => 5);
    assert.ok(kept > 0.5 && kept < 0.7, `${kept}`);
    // Most of the zone is out: the rest is not crushed.
    const home = localeOf([1, 1, 1, 1, 1, 1, 1, 1], ["a", "a", "a", "a", "b", "b", "b", "b"]);
    for (const endpoint of home.endpoints.slice(0, 3)) ejectUntil(endpoint, 1e9);
    const left = keptAt(home.endpoints, 1, () => 5);
    assert.ok(left > 0.3 && left < 0.5, `${left}`);
  });

  it("means nothing where the proxy or the endpoints are in no zone, or all in the same", () => {
    for (const zones of [[], ["a", "a", "a", "a"], ["b", "b", "c", "c"]]) {
      const { endpoints } = localeOf([1, 1, 1, 1], zones);
      const picker = makePicker({ zoneAware: true }, endpoints, { zone: "a" });
      const rng = seededRng(1);
      const counts = new Map<EndpointState, number>();
      for (let i = 0; i < 4_000; i++) {
        const one = picker.pick(ANY, 0, rng)!;
        counts.set(one, (counts.get(one) ?? 0) + 1);
      }
      for (const count of counts.values()) assert.ok(count > 850 && count < 1_150, `${count}`);
    }
  });
});

describe("subsets", () => {
  /** Whom a worker uses, at `now`. */
  function used(
    endpoints: readonly EndpointState[],
    seed: number,
    subsetSize: number,
    now = 0,
  ): Set<EndpointState> {
    const picker = makePicker({ subsetSize }, endpoints, { seed });
    const rng = seededRng(seed);
    return new Set(Array.from({ length: 20 * subsetSize }, () => picker.pick(ANY, now, rng)!));
  }

  it("are of the size that is asked for, and over many workers as often of everybody", () => {
    const { endpoints } = localeOf(new Array(50).fill(1));
    const workers = 1_500;
    const counts = new Map<EndpointState, number>();
    for (let seed = 0; seed < workers; seed++) {
      const some = used(endpoints, seed * 7_919, 5);
      assert.equal(some.size, 5);
      for (const one of some) counts.set(one, (counts.get(one) ?? 0) + 1);
    }
    const mean = (workers * 5) / 50;
    for (const endpoint of endpoints) {
      const count = counts.get(endpoint)!;
      assert.ok(Math.abs(count - mean) < 0.3 * mean, `${count} for ${mean}`);
    }
  });

  it("change by no more than the endpoint that goes or comes", () => {
    const { endpoints } = localeOf(new Array(50).fill(1));
    for (let seed = 1; seed < 30; seed++) {
      const before = used(endpoints, seed, 8);
      const [gone] = before;
      const after = used(
        endpoints.filter((one) => one !== gone),
        seed,
        8,
      );
      assert.equal([...before].filter((one) => !after.has(one)).length, 1);
    }
  });

  it("have well ones in place of those that are out, and the old ones again when they are well", () => {
    const { endpoints } = localeOf(new Array(20).fill(1));
    const before = used(endpoints, 3, 4);
    const out = [...before].slice(0, 2);
    for (const endpoint of out) ejectUntil(endpoint, 50_000);
    const during = used(endpoints, 3, 4, 1_000);
    assert.equal(during.size, 4);
    assert.ok(out.every((one) => !during.has(one)));
    assert.deepEqual(used(endpoints, 3, 4, 60_000), before);
  });

  it("of workers that are told the same seed are the same", () => {
    const { endpoints } = localeOf(new Array(20).fill(1));
    assert.deepEqual(used(endpoints, 3, 4), used([...endpoints].reverse(), 3, 4));
  });
});
