import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { OutlierPolicy } from "#model/traffic_policy.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { OutlierDetector } from "#proxy/health/outlier_detector.ts";
import { localeOf } from "#test/kit/endpoints.ts";

/** Longer than the first interval of any seed. */
const INTERVAL = 20_000;

interface Stand {
  readonly endpoints: readonly EndpointState[];
  readonly detector: OutlierDetector;
}

function stand(count: number, policy?: OutlierPolicy, seed?: number): Stand {
  const { endpoints } = localeOf(new Array(count).fill(1));
  const detector = new OutlierDetector(policy, endpoints, seed);
  detector.review(0);
  return { endpoints, detector };
}

/** `count` tries at each, of which the share that `failing` says of its place fails, the failures well apart. */
function traffic(
  { endpoints, detector }: Stand,
  now: number,
  failing: (at: number) => number,
  count = 100,
): void {
  for (const [at, endpoint] of endpoints.entries()) {
    const share = failing(at);
    for (let i = 0; i < count; i++) {
      const fails = Math.floor((i + 1) * share) > Math.floor(i * share);
      detector.afterTry(endpoint, fails ? "failed" : "ok", now);
    }
  }
}

const outAt = ({ endpoints }: Stand, now: number): number[] =>
  endpoints.flatMap((endpoint, at) => (endpoint.isEjected(now) ? [at] : []));

describe("failures in a row", () => {
  const fail = (
    { detector, endpoints }: Stand,
    times: number,
    now: number,
    outcome: Outcome = "failed",
  ): void => {
    for (let i = 0; i < times; i++) detector.afterTry(endpoints[0]!, outcome, now);
  };

  it("eject at the fifth, or at the third connection that cannot be made", () => {
    const one = stand(2);
    fail(one, 4, 0);
    assert.deepEqual(outAt(one, 0), []);
    fail(one, 1, 0);
    assert.deepEqual(outAt(one, 999), [0]);
    assert.deepEqual(outAt(one, 1_000), []);
    const other = stand(2);
    fail(other, 3, 0, "unreachable");
    assert.deepEqual(outAt(other, 0), [0]);
    assert.equal(other.detector.counts.ejections.consecutive_failures, 1);
  });

  it("eject whole locales, unless a cap is set: then one always, and no more than the share", () => {
    for (const [policy, out] of [
      [undefined, 10],
      [{ maxEjectedShare: 0.3 }, 3],
      [{ maxEjectedShare: 0 }, 1],
    ] as const) {
      const all = stand(10, policy);
      for (const endpoint of all.endpoints) {
        for (let i = 0; i < 5; i++) all.detector.afterTry(endpoint, "failed", 0);
      }
      assert.equal(outAt(all, 0).length, out);
    }
  });

  it("follow their policy: how many, how long, or none at all", () => {
    const soon = stand(2, { consecutiveFailures: 2, ejectionMs: 300, ejectionMaxMs: 500 });
    fail(soon, 2, 0);
    assert.deepEqual([outAt(soon, 299), outAt(soon, 300)], [[0], []]);
    fail(soon, 1, 300);
    assert.deepEqual([outAt(soon, 799), outAt(soon, 800)], [[0], []]);
    const never = stand(2, { consecutiveFailures: 0 });
    fail(never, 1_000, 0);
    assert.deepEqual(outAt(never, 0), []);
  });

  it("end at different times in different workers, never later than said", () => {
    const ends = new Set<number>();
    for (let seed = 1; seed <= 50; seed++) {
      const one = stand(2, undefined, seed);
      fail(one, 5, 0);
      const { ejectedUntil } = one.endpoints[0]!;
      assert.ok(ejectedUntil > 799 && ejectedUntil <= 1_000);
      ends.add(ejectedUntil);
    }
    assert.ok(ends.size > 40);
  });

  it("let a slow start begin when the ejection ends", () => {
    const one = stand(2);
    fail(one, 5, 5_000);
    assert.equal(one.endpoints[0]!.warmFrom, 6_000);
  });
});

describe("the comparison of success rates", () => {
  it("ejects who does worse than the others, for an interval at least", () => {
    const some = stand(8);
    traffic(some, 0, (at) => (at === 3 ? 0.4 : 0.01));
    assert.equal(some.detector.review(9_999), false, "not before the interval is over");
    assert.equal(some.detector.review(INTERVAL), true);
    assert.deepEqual(outAt(some, INTERVAL + 9_999), [3]);
    assert.deepEqual(outAt(some, INTERVAL + 10_000), []);
    assert.equal(some.detector.counts.ejections.success_rate, 1);
  });

  it("is not undone by requests that were under way", () => {
    const some = stand(8);
    traffic(some, 0, (at) => (at === 3 ? 0.4 : 0));
    some.detector.review(INTERVAL);
    some.detector.afterTry(some.endpoints[3]!, "ok", INTERVAL + 10);
    assert.deepEqual(outAt(some, INTERVAL + 10), [3]);
  });

  it("takes twice as long the next time, and less again after a clean interval", () => {
    const some = stand(8);
    const bad = (at: number): number => (at === 3 ? 0.4 : 0);
    let now = 0;
    const lasted = (): number => {
      traffic(some, now, bad);
      now += INTERVAL;
      some.detector.review(now);
      const { ejectedUntil } = some.endpoints[3]!;
      const ms = ejectedUntil - now;
      now = ejectedUntil;
      return ms;
    };
    assert.deepEqual([lasted(), lasted(), lasted()], [10_000, 20_000, 40_000]);
    for (let i = 0; i < 3; i++) {
      traffic(some, now, () => 0);
      now += INTERVAL;
      some.detector.review(now);
    }
    assert.equal(lasted(), 10_000);
  });

  it("says nothing of few endpoints, few requests, equal failures, or a margin that is chance", () => {
    for (const [count, requests, failing] of [
      [4, 100, (at: number) => (at === 3 ? 0.5 : 0)],
      [8, 99, (at: number) => (at === 3 ? 0.5 : 0)],
      [8, 100, () => 0.3],
      [8, 100, (at: number) => (at === 3 ? 0.04 : 0)],
    ] as const) {
      const some = stand(count);
      traffic(some, 0, failing, requests);
      assert.equal(some.detector.review(INTERVAL), false);
      assert.deepEqual(outAt(some, INTERVAL), []);
    }
  });

  it("counts each interval for itself", () => {
    const some = stand(8);
    traffic(some, 0, (at) => (at === 3 ? 0.2 : 0), 60);
    some.detector.review(INTERVAL);
    traffic(some, INTERVAL, (at) => (at === 3 ? 0.2 : 0), 60);
    assert.equal(some.detector.review(2 * INTERVAL), false);
    traffic(some, 2 * INTERVAL, (at) => (at === 3 ? 0.2 : 0), 120);
    assert.equal(some.detector.review(3 * INTERVAL), true);
  });

  it("ejects a tenth at most, the worst first; or what a policy says; one always may be", () => {
    const failing = (at: number): number => (at < 3 ? 0.5 + at / 100 : 0);
    for (const [policy, out] of [
      [undefined, [1, 2]],
      [{ maxEjectedShare: 0 }, [2]],
      [{ maxEjectedShare: 1 }, [0, 1, 2]],
    ] as const) {
      const some = stand(20, policy);
      traffic(some, 0, failing);
      some.detector.review(INTERVAL);
      assert.deepEqual(outAt(some, INTERVAL), out);
    }
  });

  it("can be switched off, and set", () => {
    const off: OutlierPolicy = { successRate: { stdevFactor: 0 } };
    const bad = (at: number): number => (at === 2 ? 0.5 : 0);
    const never = stand(8, off);
    traffic(never, 0, bad);
    assert.equal(never.detector.review(INTERVAL), false);
    const few = stand(3, { successRate: { minHosts: 3, minRequests: 10, stdevFactor: 1 } });
    traffic(few, 0, bad, 10);
    few.detector.review(INTERVAL);
    assert.deepEqual(outAt(few, INTERVAL), [2]);
  });
});

describe("the share of failures", () => {
  it("ejects who fails most of its requests, where success rates are too far apart to tell", () => {
    const some = stand(10, { consecutiveFailures: 0, successRate: { stdevFactor: 0 } });
    traffic(some, 0, (at) => (at === 1 ? 0.86 : at === 2 ? 0.84 : 0), 60);
    some.detector.review(INTERVAL);
    assert.deepEqual(outAt(some, INTERVAL), [1]);
    assert.equal(some.detector.counts.ejections.failure_share, 1);
  });

  it("can be switched off", () => {
    const off = { consecutiveFailures: 0, successRate: { stdevFactor: 0 } };
    const some = stand(10, { ...off, failureShare: { threshold: 0 } });
    traffic(some, 0, (at) => (at === 1 ? 1 : 0));
    assert.equal(some.detector.review(INTERVAL), false);
  });
});

describe("what was counted", () => {
  it("goes on in the next snapshot's detector", () => {
    const some = stand(8);
    traffic(some, 0, (at) => (at === 3 ? 0.5 : 0), 60);
    const next = new OutlierDetector(undefined, some.endpoints, undefined, some.detector);
    traffic({ endpoints: some.endpoints, detector: next }, 0, (at) => (at === 3 ? 0.5 : 0), 60);
    assert.equal(next.review(INTERVAL), true);
    const third = new OutlierDetector(undefined, some.endpoints, undefined, next);
    assert.equal(third.counts.ejections.success_rate, 1);
  });
});
