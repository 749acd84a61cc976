import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { RateLimit } from "#model/traffic_policy.ts";
import { KEYS_MAX, RateBucket } from "#proxy/admit/rate_limit.ts";

const LOCAL: RateLimit = { name: "all", scope: "Local", rate: 10, burst: 5 };

function pass(bucket: RateBucket, now: number, key?: number): boolean {
  if (bucket.waitOf(key, now) > 0) return false;
  bucket.take(key);
  return true;
}

/** Requests that pass of `asked` at once. */
function passing(bucket: RateBucket, now: number, asked: number, key?: number): number {
  let passed = 0;
  for (let i = 0; i < asked; i++) if (pass(bucket, now, key)) passed++;
  return passed;
}

describe("RateBucket", () => {
  it("lets a burst pass, then the rate, and says when the next may", () => {
    const bucket = new RateBucket(LOCAL, 1, 0);
    assert.equal(passing(bucket, 0, 9), 5);
    assert.equal(Math.round(bucket.waitOf(undefined, 0)), 100);
    assert.equal(Math.round(bucket.waitOf(undefined, 60)), 40);
    assert.ok(pass(bucket, 100));
    assert.ok(!pass(bucket, 100));
    assert.equal(passing(bucket, 100_000, 9), 5);
  });

  it("never lets more pass in any span than its burst and what the span brought", () => {
    const rng = seededRng(1);
    for (let run = 0; run < 300; run++) {
      const burst = 1 + rng.below(20);
      const workers = 1 + rng.below(3);
      let rate = 0.1 + rng.next() * 200;
      const bucket = new RateBucket({ ...LOCAL, rate, burst }, workers, 0);
      // What may have passed up to each moment that one did, and the tokens of then.
      const passed: Array<{ readonly at: number; readonly tokens: number }> = [];
      let now = 0;
      let tokens = 0;
      for (let i = 0; i < 300; i++) {
        const span = rng.next() < 0.5 ? 0 : rng.next() * 100;
        now += span;
        tokens += (span * rate) / workers / 1_000;
        if (rng.next() < 0.05) {
          rate = 0.1 + rng.next() * 200;
          bucket.follow({ ...LOCAL, rate, burst }, workers, now);
        }
        if (pass(bucket, now)) passed.push({ at: now, tokens });
      }
      const burstHere = Math.max(1, burst / workers);
      for (let from = 0; from < passed.length; from++) {
        for (let to = from; to < passed.length; to++) {
          const brought = passed[to]!.tokens - passed[from]!.tokens;
          assert.ok(to - from + 1 <= brought + burstHere + 1e-6, `run ${run}`);
        }
      }
      // It does not let nothing pass either.
      assert.ok(passed.length >= 1);
    }
  });

  it("gives each client the rate for itself, and remembers the last 10,000", () => {
    const bucket = new RateBucket({ ...LOCAL, by: { type: "SourceAddress" } }, 1, 0);
    assert.equal(passing(bucket, 0, 9, 1), 5);
    assert.equal(passing(bucket, 0, 9, 2), 5);
    for (let key = 3; key < KEYS_MAX / 2; key++) pass(bucket, 0, key);
    assert.ok(!pass(bucket, 0, 1));
    for (let key = 0; key < KEYS_MAX; key++) pass(bucket, 0, 1_000_000 + key);
    assert.equal(passing(bucket, 0, 9, 1), 5);
  });

  it("shares its rate and its burst among workers, each with at least one request", () => {
    assert.equal(passing(new RateBucket(LOCAL, 2, 0), 0, 9), 2);
    assert.equal(passing(new RateBucket(LOCAL, 50, 0), 0, 9), 1);
    assert.equal(new RateBucket(LOCAL, 4, 0).waitOf(undefined, 0), 0);
  });

  it("keeps what was used when its rate changes, and forgets it when it counts others", () => {
    const bucket = new RateBucket(LOCAL, 1, 0);
    passing(bucket, 0, 9);
    bucket.follow({ ...LOCAL, rate: 1_000, burst: 3 }, 1, 0);
    assert.equal(Math.round(bucket.waitOf(undefined, 0)), 1);
    assert.equal(passing(bucket, 1_000, 9), 3);
    // More may be saved, but it is not there yet.
    bucket.follow({ ...LOCAL, rate: 1_000, burst: 9 }, 1, 1_000);
    assert.equal(passing(bucket, 1_004, 9), 4);
    assert.equal(passing(bucket, 2_000, 20), 9);
    bucket.follow({ ...LOCAL, by: { type: "Header", name: "x" } }, 1, 2_000);
    assert.equal(passing(bucket, 2_000, 9, 7), 5);
  });

  describe("of the whole mesh", () => {
    const mesh: RateLimit = { ...LOCAL, scope: "Mesh", rate: 100, burst: 50 };

    it("starts with a 64th, until something is leased to it", () => {
      const bucket = new RateBucket(mesh, 1, 0);
      assert.equal(bucket.rate, 100 / 64);
      assert.equal(passing(bucket, 0, 9), 1);
      bucket.follow({ ...mesh, leased: 40 }, 1, 0);
      assert.equal(bucket.rate, 40);
      assert.equal(passing(bucket, 0, 9), 0);
      assert.equal(passing(bucket, 10_000, 90), 20);
    });

    it("lets nothing pass where nothing is leased, nor more than all of it", () => {
      const bucket = new RateBucket({ ...mesh, leased: 0 }, 1, 0);
      assert.ok(!pass(bucket, 1e9));
      assert.equal(bucket.waitOf(undefined, 1e9), 10_000);
      bucket.follow({ ...mesh, leased: 1_000 }, 1, 1e9);
      assert.equal(bucket.rate, 100);
    });

    it("two clusters never exceed the whole, however it is shared and shared again", () => {
      const rng = seededRng(2);
      for (let run = 0; run < 100; run++) {
        let mine = 0.5;
        const leases = () => [mine, 1 - mine].map((share) => ({ ...mesh, leased: share * 100 }));
        const clusters = leases().map((rules) => new RateBucket(rules, 1, 0));
        let passed = 0;
        let now = 0;
        for (let i = 0; i < 2_000; i++) {
          now += rng.next() * 10;
          if (rng.next() < 0.01) {
            mine = rng.next();
            for (const [at, rules] of leases().entries()) clusters[at]!.follow(rules, 1, now);
          }
          if (pass(clusters[rng.below(2)]!, now)) passed++;
        }
        // At least one each, and 50 altogether; what is asked is twice the rate.
        const most = now / 10 + 50 + 2;
        assert.ok(passed <= most && passed > most * 0.8, `${passed} of ${most}`);
      }
    });
  });
});
