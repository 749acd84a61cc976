import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Stall } from "#proxy/balance/stall.ts";

const USUAL_MS = 60;

function begun(stall: Stall, count: number, now: number): void {
  for (let i = 0; i < count; i++) stall.began(USUAL_MS, now);
}

describe("a place from which nothing comes back", () => {
  it("is noticed after some usual response times without any answer", () => {
    const stall = new Stall();
    stall.answered();
    begun(stall, 4, 1_000);
    assert.equal(stall.isStalled(USUAL_MS, 1_179), false);
    assert.equal(stall.isStalled(USUAL_MS, 1_180), true);
  });

  it("is not one that answers anybody, nor one that has hardly been asked", () => {
    const stall = new Stall();
    stall.answered();
    begun(stall, 3, 1_000);
    assert.equal(stall.isStalled(USUAL_MS, 1_500), false);
    begun(stall, 1, 1_500);
    assert.equal(stall.isStalled(USUAL_MS, 1_700), true);
    stall.answered();
    assert.equal(stall.isStalled(USUAL_MS, 1_700), false);
  });

  it("is given time where nobody knows how long it takes", () => {
    const stall = new Stall();
    begun(stall, 4, 0);
    assert.equal(stall.isStalled(1, 999), false);
    assert.equal(stall.isStalled(1, 1_000), true);
  });

  it("is asked again after a second, then after two, by no more than four", () => {
    const stall = new Stall();
    stall.answered();
    begun(stall, 4, 0);
    assert.equal(stall.isStalled(USUAL_MS, 1_179), true);
    assert.equal(stall.isStalled(USUAL_MS, 1_180), false);
    begun(stall, 4, 1_180);
    assert.equal(stall.isStalled(USUAL_MS, 1_360), true);
    assert.equal(stall.isStalled(USUAL_MS, 3_359), true);
    assert.equal(stall.isStalled(USUAL_MS, 3_360), false);
  });
});
