import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { afterProbe, LINK_PROBE, NEW_LINK } from "#proxy/health/link_state.ts";
import { afterRequest, EJECTION, HEALTHY } from "#proxy/health/outlier.ts";

describe("outlier ejection", () => {
  it("ejects after enough failures in a row, longer each time, and forgets after a calm time", () => {
    let state = HEALTHY;
    for (let i = 1; i < EJECTION.after; i++) state = afterRequest(state, 1, 0);
    assert.equal(state.ejectedUntil, 0);
    const times: number[] = [];
    for (let now = 0, i = 0; i < 6; i++, now = state.ejectedUntil) {
      state = afterRequest(state, 1, now);
      times.push(state.ejectedUntil - now);
    }
    assert.deepEqual(times, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    assert.equal(afterRequest(state, 0, state.ejectedUntil + 30_000), HEALTHY);
  });

  it("takes who comes and goes out for longer each time, though some requests go well between", () => {
    let state = HEALTHY;
    const times: number[] = [];
    for (let now = 0; now < 30_000; now += 5_000) {
      for (let i = 0; i < EJECTION.after && now >= state.ejectedUntil; i++) {
        state = afterRequest(state, 1, now);
      }
      times.push(state.ejectedUntil);
      if (now + 2_500 >= state.ejectedUntil) state = afterRequest(state, 0, now + 2_500);
    }
    assert.deepEqual(times, [1_000, 7_000, 14_000, 23_000, 23_000, 35_000]);
  });

  it("learns nothing new from failures of requests sent before the ejection", () => {
    let state = HEALTHY;
    for (let i = 0; i < EJECTION.after; i++) state = afterRequest(state, 1, 100);
    const { ejectedUntil } = state;
    for (let i = 0; i < 20; i++) state = afterRequest(state, 1, 200);
    assert.equal(state.ejectedUntil, ejectedUntil);
  });
});

describe("links", () => {
  it("that come and go are up again after more answers each time, until they were calm for long", () => {
    let state = NEW_LINK;
    const answers = (): number => {
      for (let i = 0; i < LINK_PROBE.failures; i++)
        state = afterProbe(state, undefined, LINK_PROBE);
      assert.equal(state.up, false);
      let needed = 0;
      for (; !state.up; needed++) state = afterProbe(state, 10, LINK_PROBE);
      return needed;
    };
    assert.deepEqual([answers(), answers(), answers(), answers(), answers()], [1, 4, 16, 64, 64]);
    for (let i = 0; i < 120; i++) state = afterProbe(state, 10, LINK_PROBE);
    assert.equal(answers(), 1);
  });

  it("go down after two failures in a row and up with the first answer", () => {
    let state = afterProbe(NEW_LINK, 10, LINK_PROBE);
    state = afterProbe(state, undefined, LINK_PROBE);
    assert.equal(state.up, true);
    state = afterProbe(state, undefined, LINK_PROBE);
    assert.equal(state.up, false);
    state = afterProbe(state, 30, LINK_PROBE);
    assert.deepEqual([state.up, state.rttMs], [true, 30], "what was before the cut is forgotten");
  });

  it("notice a black hole within three seconds, with time left to try again", () => {
    const { periodMs, timeoutMs, failures } = LINK_PROBE;
    assert.ok(1.2 * periodMs + timeoutMs * failures <= 2_600);
  });

  it("smooth their readings", () => {
    const state = afterProbe(afterProbe(NEW_LINK, 8, LINK_PROBE), 16, LINK_PROBE);
    assert.equal(state.rttMs, 9);
  });
});
