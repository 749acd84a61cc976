import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LogHistogram } from "#bench/load/log_histogram.ts";
import { seededRng } from "#kernel/rng.ts";

describe("histogram by growing buckets", () => {
  it("tells percentiles within 3 % of the readings themselves, and never below", () => {
    const rng = seededRng(3);
    const histogram = new LogHistogram();
    const readings = Array.from({ length: 5_000 }, () => Math.round(10 ** (7 * rng.next())));
    for (const reading of readings) histogram.record(reading);
    readings.sort((a, b) => a - b);
    for (const percent of [0.1, 10, 50, 90, 99, 99.9, 100]) {
      const exact = readings[Math.max(0, Math.ceil((percent / 100) * readings.length) - 1)]!;
      const told = histogram.percentile(percent);
      assert.ok(told >= exact && told <= exact * 1.032, `${percent} %: ${told} for ${exact}`);
    }
    assert.equal(histogram.max, readings.at(-1));
  });

  it("keeps small readings exact and takes what is beyond its range", () => {
    const histogram = new LogHistogram();
    for (let reading = 0; reading < 64; reading++) histogram.record(reading);
    assert.deepEqual(
      [0, 50, 100].map((percent) => histogram.percentile(percent)),
      [0, 31, 63],
    );
    histogram.record(1e12);
    histogram.record(-5);
    assert.equal(histogram.percentile(100), 2 ** 31 - 1);
    assert.equal(histogram.count, 66);
  });

  it("adds another one as if all had been recorded in one place", () => {
    const [a, b, both] = [new LogHistogram(), new LogHistogram(), new LogHistogram()];
    for (let i = 1; i < 2_000; i++) {
      (i % 3 === 0 ? a : b).record(i * i);
      both.record(i * i);
    }
    a.add(b);
    assert.deepEqual([a.count, a.max], [both.count, both.max]);
    for (const percent of [1, 50, 99]) {
      assert.equal(a.percentile(percent), both.percentile(percent));
    }
  });

  it("has no percentile of nothing", () => {
    assert.ok(Number.isNaN(new LogHistogram().percentile(50)));
  });
});
