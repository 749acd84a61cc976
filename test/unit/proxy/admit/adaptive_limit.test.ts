import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import { type Conditions, LimitedUpstream } from "#test/sim/adaptive_limits.ts";

/** 4,800 requests/s at most. */
const UPSTREAM: Conditions = {
  servers: 100,
  serviceMs: 20,
  sigma: 0.3,
  rttMs: 1,
  rate: 2_000,
  queueMax: 100_000,
};

function upstream(changes: Partial<Conditions> = {}): LimitedUpstream {
  return new LimitedUpstream(new AdaptiveLimit(), { ...UPSTREAM, ...changes }, 1);
}

describe("AdaptiveLimit", () => {
  it("is not there for an upstream that bears what it gets", () => {
    assert.equal(upstream().phase(20_000).low, Number.POSITIVE_INFINITY);
  });

  it("keeps an upstream that gets three times what it bears busy, and its queue short", () => {
    const world = upstream();
    world.phase(5_000);
    world.phase(5_000, { rate: 14_400 });
    const { served, p99, low, high } = world.phase(10_000);
    assert.ok(served > 0.97 * 47_800, `${served}`);
    assert.ok(p99 < 150, `${p99}`);
    assert.ok(low >= 100 && high < 400, `${low} to ${high}`);
  });

  it("follows a capacity that falls and comes back", () => {
    const world = upstream();
    world.phase(5_000);
    world.phase(5_000, { servers: 30, rate: 3_000 });
    const less = world.phase(10_000);
    assert.ok(less.served > 0.97 * 14_340, `${less.served}`);
    assert.ok(less.p99 < 200, `${less.p99}`);
    world.phase(5_000, { servers: 100 });
    assert.equal(world.phase(10_000).held, 0);
  });

  it("learns that a way has become longer, and holds nobody back for that", () => {
    const world = upstream({ rttMs: 30 });
    world.phase(5_000);
    world.phase(5_000, { rttMs: 90 + 40 });
    assert.equal(world.phase(10_000).held, 0);
  });

  it("stays away from what runs where response times only vary widely", () => {
    for (const rate of [50, 1_000, 2_000]) {
      assert.ok(upstream({ sigma: 1, rate }).phase(120_000).slack >= 3, `${rate}/s`);
    }
  });

  it("neither falls nor grows while little is asked", () => {
    const world = upstream();
    world.phase(5_000);
    const { limit } = world.phase(10_000, { rate: 14_400 });
    // Until the queue of before is gone.
    world.phase(1_000, { rate: 20 });
    const { low, high } = world.phase(300_000);
    assert.ok(low >= limit * 0.7 && high <= limit * 1.5, `${low} to ${high} from ${limit}`);
  });
});
