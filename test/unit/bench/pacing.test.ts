import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Pacing } from "#bench/load/pacing.ts";
import { seededRng } from "#kernel/rng.ts";

function times(pacing: Pacing, count: number): number[] {
  return Array.from({ length: count }, () => {
    const { dueMs } = pacing;
    pacing.advance();
    return dueMs;
  });
}

describe("pacing of a load", () => {
  it("does not drift in a million requests", () => {
    const pacing = new Pacing(300, "constant", seededRng(1));
    assert.equal(times(pacing, 1_000_000).at(-1), 999_999 * (1_000 / 300));
  });

  it("has the rate and the spread of independent clients, and repeats them", () => {
    const all = times(new Pacing(1_000, "poisson", seededRng(7)), 100_000);
    const gaps = all.slice(1).map((at, i) => at - all[i]!);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const spread = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
    // Of an exponential distribution both are the same.
    assert.ok(Math.abs(mean - 1) < 0.02 && Math.abs(spread - 1) < 0.03, `${mean} ± ${spread}`);
    assert.deepEqual(times(new Pacing(1_000, "poisson", seededRng(7)), 100), all.slice(0, 100));
  });
});
