import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FAILURES } from "#proxy/exchange/failure.ts";
import { RetryBudget } from "#proxy/retry/budget.ts";
import { isRetryableStatus, mayRetry } from "#proxy/retry/classify.ts";
import { DEADLINE_DEFAULT_MS, requestDeadline } from "#proxy/retry/deadline.ts";

describe("retries", () => {
  it("keeps to methods that may be repeated unless nothing was sent", () => {
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
      assert.equal(mayRetry("idempotent", method), true, method);
    }
    for (const method of ["POST", "PATCH", "get", "LOCK"]) {
      assert.equal(mayRetry("idempotent", method), false, method);
      assert.equal(mayRetry("always", method), true, method);
      assert.equal(mayRetry("never", method), false, method);
    }
  });

  it("retries what an endpoint answers only when it says: not now", () => {
    const retried = Array.from({ length: 500 }, (_, i) => i + 100).filter(isRetryableStatus);
    assert.deepEqual(retried, [502, 503, 504]);
  });

  it("calls no failure safe after which an endpoint may have acted", () => {
    const safe = Object.entries(FAILURES)
      .filter(([, { retry }]) => retry === "always")
      .map(([name]) => name);
    assert.deepEqual(safe, [
      "no_candidate",
      "overloaded",
      "shed",
      "not_primary",
      "loop",
      "draining",
      "connect_refused",
      "connect_timeout",
      "tls_failed",
      "not_sent",
      "refused_stream",
      "refused_by_gateway",
    ]);
  });

  it("bounds retries to a fifth of the requests and ten a second", () => {
    const budget = new RetryBudget(0);
    let retries = 0;
    for (let now = 0; now < 60_000; now += 1) {
      budget.deposit(now);
      while (budget.tryWithdraw(now)) retries++;
    }
    assert.ok(retries <= 60_000 * 0.2 + 60 * 10 + 110, String(retries));
    assert.ok(retries > 60_000 * 0.2, String(retries));
  });

  it("saves up no more than ten seconds' worth", () => {
    const budget = new RetryBudget(0);
    let retries = 0;
    while (budget.tryWithdraw(3_600_000)) retries++;
    assert.equal(retries, 100);
  });

  it("takes the least of the route's time and the hop's", () => {
    assert.equal(requestDeadline(undefined, undefined), DEADLINE_DEFAULT_MS);
    assert.equal(requestDeadline(0, undefined), 0);
    assert.equal(requestDeadline(0, 500), 500);
    assert.equal(requestDeadline(300, 500), 300);
    assert.equal(requestDeadline(900, 500), 500);
    assert.equal(requestDeadline(undefined, undefined, 60_000), 60_000);
    assert.equal(requestDeadline(900, undefined, 60_000), 900);
    assert.equal(requestDeadline(0, undefined, 60_000), 60_000);
    assert.equal(requestDeadline(undefined, 500, 60_000), 500);
  });
});
