import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { backAfter, movedAfter, worstP99 } from "#bench/faults/measures.ts";
import { figuresOf } from "#bench/faults/reading.ts";
import { RequestLog } from "#bench/load/request_log.ts";

/** A request every 5 ms for 10 s. @param answer of the one that is due then: how long it took, and by whom. */
function logOf(answer: (dueMs: number) => { tookMs: number; by: string; status?: number }) {
  const log = new RequestLog();
  for (let dueMs = 0; dueMs < 10_000; dueMs += 5) {
    const { tookMs, by, status = 200 } = answer(dueMs);
    log.add({ dueMs, tookMs, by, status, result: status < 500 ? "2xx" : "5xx", priority: "" });
  }
  return log;
}

describe("measures of a fault", () => {
  it("tell when traffic has moved: not while it waits for what is gone", () => {
    const log = logOf((due) => {
      if (due < 3_000) return { tookMs: 10, by: "a" };
      // Answered by the other one in the end.
      return due < 5_000 ? { tookMs: 5_000 - due, by: "b" } : { tookMs: 12, by: "b" };
    });
    assert.equal(movedAfter(log, 3_000, ["a"]), 1_900);
    assert.equal(movedAfter(log, 3_000, ["a", "b"]), Number.POSITIVE_INFINITY);
  });

  it("tell when the p99 is back, for a second without a failure", () => {
    const log = logOf((due) => {
      const status = due >= 4_000 && due < 4_020 ? 503 : 200;
      return { tookMs: due >= 3_000 && due < 3_500 ? 100 : 10, by: "a", status };
    });
    assert.equal(backAfter(log, 3_000, 15), 1_100);
    assert.ok(worstP99(log, 2_000, 5_000) >= 100);
    assert.ok(worstP99(log, 5_000, 8_000) < 11);
  });

  it("join runs by the middle one, or by the worst, and hold them against their goals", () => {
    const run = (moved: number, failed: number, served: number) => [
      { name: "moved", value: moved, unit: "ms", most: 100 },
      { name: "failed", value: failed, unit: "", most: 0, worst: true },
      { name: "served", value: served, unit: "%", least: 90, worst: true },
      { name: "told", value: Number.NaN, unit: "" },
    ];
    const figures = figuresOf([run(90, 0, 95), run(300, 1, 89), run(80, 0, 99)]);
    assert.deepEqual(
      figures.map(({ value, met }) => [value, met]),
      [
        [90, true],
        [1, false],
        [89, false],
        [Number.NaN, true],
      ],
    );
    const never = figuresOf([run(Number.POSITIVE_INFINITY, 0, Number.NaN)]);
    assert.deepEqual(
      never.map(({ met }) => met),
      [false, true, false, true],
    );
  });
});
