import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { afterCheck, UNCHECKED } from "#proxy/health/active_check.ts";

const POLICY = { unhealthyThreshold: 3, healthyThreshold: 2 };

/** What is thought after each of these checks: `+` went well, `-` did not. */
function verdicts(checks: string, policy = POLICY): string {
  let state = UNCHECKED;
  return [...checks]
    .map((check) => {
      state = afterCheck(state, check === "+", policy);
      return state.healthy === true ? "h" : "u";
    })
    .join("");
}

describe("active checks", () => {
  for (const [checks, thought, why] of [
    ["+", "h", "the first decides"],
    ["-", "u", "the first decides, also against it"],
    ["+--+", "hhhh", "two failures are not three"],
    ["+---", "hhhu", "three in a row are"],
    ["+--+--+---", "hhhhhhhhhu", "a success begins the count anew"],
    ["-+", "uu", "one success is not two"],
    ["-++", "uuh", "two in a row are"],
    ["-+-+-++", "uuuuuuh", "a failure begins the count anew"],
    ["+---+---++", "hhhuuuuuuh", "there and back"],
  ] as const) {
    it(`${checks}: ${why}`, () => assert.equal(verdicts(checks), thought));
  }

  it("follow each check where one is enough", () => {
    const policy = { unhealthyThreshold: 1, healthyThreshold: 1 };
    assert.equal(verdicts("+-+-", policy), "huhu");
  });

  it("make nothing new of what is as it was", () => {
    const state = afterCheck(UNCHECKED, true, POLICY);
    assert.equal(afterCheck(state, true, POLICY), state);
  });
});
