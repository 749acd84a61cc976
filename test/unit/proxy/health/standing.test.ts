import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  endpointStanding,
  inPanic,
  type LocaleFacts,
  type LocaleStanding,
  localeStanding,
} from "#proxy/health/standing.ts";
import { ejectUntil, localeOf } from "#test/kit/endpoints.ts";

describe("the standing of an endpoint", () => {
  for (const [check, ejected, standing] of [
    [undefined, false, "well"],
    [undefined, true, "ejected"],
    [true, false, "well"],
    [true, true, "ejected"],
    [false, false, "unhealthy"],
    [false, true, "unhealthy"],
  ] as const) {
    it(`check ${check ?? "unknown"}, ${ejected ? "ejected" : "not ejected"}: ${standing}`, () => {
      assert.equal(endpointStanding(check, ejected), standing);
    });
  }
});

describe("the standing of a locale", () => {
  const fine: LocaleFacts = {
    ...{ drained: false, endpoints: 2, linkUp: true, healthy: 2, anyWell: true },
    freshness: "fresh",
  };
  const rows: readonly [string, Partial<LocaleFacts>, LocaleStanding][] = [
    ["drained", { drained: true }, "closed"],
    ["without endpoints", { endpoints: 0, anyWell: false }, "closed"],
    ["whose link is down", { linkUp: false }, "out"],
    ["whose owner has nobody healthy", { healthy: 0 }, "out"],
    ["of which no endpoint is well", { anyWell: false }, "out"],
    ["with suspect facts", { freshness: "suspect" }, "last"],
    ["with stale facts", { freshness: "stale" }, "late"],
    ["with nothing against it", {}, "well"],
  ];
  for (const [what, change, standing] of rows) {
    it(`${what}: ${standing}`, () => {
      assert.equal(localeStanding({ ...fine, ...change }), standing);
    });
  }

  it("is what the first row says that applies", () => {
    for (const [i, [, change, standing]] of rows.entries()) {
      for (const [, later] of rows.slice(i)) {
        assert.equal(localeStanding({ ...fine, ...later, ...change }), standing);
      }
    }
  });
});

describe("panic", () => {
  it("begins below the threshold, and where nobody is well there is none to help", () => {
    const { endpoints } = localeOf(new Array(10).fill(1));
    const withWell = (well: number): boolean => {
      for (const [i, endpoint] of endpoints.entries()) ejectUntil(endpoint, i < well ? 0 : 10);
      return inPanic(endpoints, 0.5, 5);
    };
    assert.deepEqual([10, 5, 4, 1, 0].map(withWell), [false, false, true, true, false]);
    withWell(1);
    assert.equal(inPanic(endpoints, 0, 5), false);
  });
});
