import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AdaptiveLimit } from "#proxy/admit/adaptive_limit.ts";
import { type Conditions, HUNDRED_SERVERS, LimitedUpstream } from "#test/sim/adaptive_limits.ts";

function upstream(changes: Partial<Conditions> = {}): LimitedUpstream {
  return new LimitedUpstream(new AdaptiveLimit(), { ...HUNDRED_SERVERS, ...changes }, 1);
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
    assert.ok(low >= 60 && high < 400, `${low} to ${high}`);
  });

  it("finds out how quick an upstream is that it has met in an overload", () => {
    const world = upstream({ rate: 14_400 });
    world.phase(15_000);
    const { served, p99 } = world.phase(10_000);
    assert.ok(served > 0.95 * 47_800, `${served}`);
    assert.ok(p99 < 250, `${p99}`);
  });

  it("needs no more than answers that say no", () => {
    const world = upstream({ queueMax: 50 });
    world.phase(5_000);
    world.phase(5_000, { rate: 14_400 });
    const { asked, dropped, served } = world.phase(10_000);
    assert.ok(dropped < 0.06 * asked, `${dropped} of ${asked}`);
    assert.ok(served > 0.9 * 47_800, `${served}`);
  });

  it("does not starve an upstream that fails a part of everything, however little it gets", () => {
    const limit = new AdaptiveLimit();
    let low = 40;
    for (let i = 0; i < 200_000; i++) {
      limit.sample(20, Math.min(40, limit.limit), i % 2 === 0 && i > 20_000, i);
      low = Math.min(low, limit.limit);
    }
    assert.ok(low < 40 && limit.limit === Number.POSITIVE_INFINITY, `${low}, ${limit.limit}`);
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
      assert.ok(upstream({ sigma: 1, rate }).phase(60_000).slack >= 3, `${rate}/s`);
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
