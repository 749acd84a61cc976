import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ServiceName } from "#model/names.ts";
import { chooseServing } from "#proxy/relay/choose_backend.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";
import { RelayStand } from "#test/kit/relay.ts";

describe("a request of a rule with several backends", () => {
  /** Shares of a thousand requests. @param named weights; @param gone services of which nobody is left. */
  function shares(named: Record<string, number>, gone: readonly string[], drained = false) {
    const stand = new RelayStand();
    const services = new Map<ServiceName, ServiceRuntime>();
    const backends = Object.entries(named).map(([name, weight]) => {
      const service = name as ServiceName;
      const isGone = gone.includes(name);
      if (name !== "unknown")
        services.set(
          service,
          stand.serviceAt([1, 2], ({ locales }) => {
            if (isGone && drained) locales[0]!.drained = true;
            else if (isGone) locales[0]!.healthy = 0;
          }).service,
        );
      return { service, weight };
    });
    const totalWeight = backends.reduce((sum, { weight }) => sum + weight, 0);
    const rng = seededRng(1);
    const counts: Record<string, number> = {};
    for (let i = 0; i < 1_000; i++) {
      const chosen = chooseServing({ backends, totalWeight, services }, 0, rng)?.service ?? "none";
      counts[chosen] = (counts[chosen] ?? 0) + 1;
    }
    return counts;
  }
  const near = (count: number | undefined, wanted: number): void =>
    assert.ok(Math.abs((count ?? 0) - wanted) < 60, `${count} is not near ${wanted}`);

  it("goes to each by its weight while all are served", () => {
    const { a, b } = shares({ a: 3, b: 1 }, []);
    near(a, 750);
    near(b, 250);
  });

  for (const drained of [false, true]) {
    it(`goes to the others, by their weights, where one is ${drained ? "drained" : "gone"}`, () => {
      const { a, b, c, d } = shares({ a: 6, b: 3, c: 1, d: 0 }, ["a"], drained);
      near(b, 750);
      near(c, 250);
      assert.deepEqual([a, d], [undefined, undefined]);
    });
  }

  it("fails as it did where all are gone, or where the others have no weight", () => {
    const { a, b } = shares({ a: 1, b: 1 }, ["a", "b"]);
    near(a, 500);
    near(b, 500);
    assert.deepEqual(shares({ a: 1, b: 0 }, ["a"]), { a: 1_000 });
  });

  it("keeps the share of a service that there is not: its route is wrong", () => {
    const { a, unknown } = shares({ a: 1, unknown: 1 }, []);
    near(a, 500);
    near(unknown, 500);
  });
});
