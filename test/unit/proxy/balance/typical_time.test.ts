import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { TypicalTime } from "#proxy/balance/typical_time.ts";
import { lognormal } from "#test/sim/scale/chance.ts";

describe("the usual response time", () => {
  it("is near the median of spread answers, not at their peak", () => {
    const rng = seededRng(1);
    const time = new TypicalTime(20, 0);
    let sum = 0;
    for (let i = 0; i < 2_000; i++) {
      time.add(60 * lognormal(rng, 0.5), i * 10);
      sum += time.read(i * 10);
    }
    // Their median is 53, their 97th percentile 136.
    assert.ok(sum / 2_000 > 45 && sum / 2_000 < 70, `${sum / 2_000}`);
  });

  it("knows within a few answers that it is ten times slower", () => {
    const time = new TypicalTime(60, 0);
    for (let now = 0; now < 1_000; now += 10) time.add(60, now);
    for (let now = 1_000; now < 1_050; now += 10) time.add(600, now);
    assert.ok(time.read(1_050) > 180, `${time.read(1_050)}`);
  });

  it("goes back to its seed in silence, and then believes new answers sooner", () => {
    const time = new TypicalTime(60, 0);
    for (let now = 0; now < 1_000; now += 5) time.add(600, now);
    assert.ok(Math.abs(time.read(1_500) - 600) < 5, "a second is no silence");
    assert.ok(time.read(60_000) < 62);
    for (let i = 0; i < 16; i++) time.add(120, 60_000 + i);
    assert.ok(time.read(60_016) > 100, `${time.read(60_016)}`);
  });

  it("is not turned away by the first answers, which wait for connections that are still opened", () => {
    const time = new TypicalTime(5, 0);
    for (let i = 0; i < 6; i++) time.add(60, i);
    assert.ok(time.read(10) < 20, `${time.read(10)}`);
    for (let i = 0; i < 20; i++) time.add(9, 10 + i);
    assert.ok(time.read(30) < 12, `${time.read(30)}`);
  });

  it("takes a new seed for what has had no answer", () => {
    const time = new TypicalTime(0.5, 0);
    time.seed(40);
    assert.ok(Math.abs(time.read(0) - 40) < 1e-9);
    for (let i = 0; i < 300; i++) time.add(10, 0);
    time.seed(80);
    assert.ok(Math.abs(time.read(0) - 10) < 0.1);
    time.reset(0);
    assert.ok(Math.abs(time.read(0) - 80) < 1e-9);
  });
});
