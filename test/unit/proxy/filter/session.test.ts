import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SessionSeal } from "#proxy/app/session_seal.ts";
import { joinSeat, markSession, readSession, splitSeat } from "#proxy/filter/session.ts";

const RULES = { type: "Header", name: "s", permanent: false } as const;
const KEY = "0123456789abcdef";
const OTHER = "fedcba9876543210";

describe("the token of a session", () => {
  const seal = new SessionSeal(Buffer.from("a"));
  const wall = 1_700_000_000_000;

  function tokenBy(by: SessionSeal, rules = RULES, seat = `${KEY}-${OTHER}`): string {
    const fields: string[] = [];
    const about = { seat, wall, seal: by, secure: false };
    markSession(rules, { seat: undefined, beganS: wall / 1_000 }, about, fields);
    return fields[1]!;
  }
  const seatOf = (token: string, rules = RULES, by = seal) =>
    readSession(rules, ["s", token, "t", token], { wall, seal: by }).seat;

  it("is known again by every process of its proxy, and by no other", () => {
    const token = tokenBy(seal);
    assert.equal(seatOf(token), `${KEY}-${OTHER}`);
    assert.equal(seatOf(token, RULES, new SessionSeal(Buffer.from("a"))), `${KEY}-${OTHER}`);
    assert.equal(seatOf(token, RULES, new SessionSeal(Buffer.from("b"))), undefined);
    assert.equal(seatOf(token, RULES, new SessionSeal()), undefined);
  });

  it("is known by all proxies that have their cluster's key", () => {
    const key = Buffer.alloc(32, 7).toString("base64");
    const [one, two] = [new SessionSeal(), new SessionSeal()];
    one.use(key);
    two.use(key);
    assert.equal(seatOf(tokenBy(one), RULES, two), `${KEY}-${OTHER}`);
    two.use(undefined);
    assert.equal(seatOf(tokenBy(one), RULES, two), undefined);
  });

  it("is a new session where anything of it was changed", () => {
    const token = tokenBy(seal);
    for (let i = 0; i < token.length; i++) {
      const letter = token[i] === "0" ? "1" : "0";
      const forged = token.slice(0, i) + letter + token.slice(i + 1);
      assert.equal(seatOf(forged), undefined, forged);
    }
    for (const odd of ["", ".", `${KEY}.1.1`, `${token}x`, token.slice(1)]) {
      assert.equal(seatOf(odd), undefined, odd);
    }
    assert.equal(seatOf(token, { ...RULES, name: "t" } as never), undefined, "of another name");
  });

  it("has no more steps than a request may make", () => {
    const eight = Array(8).fill(KEY).join("-");
    assert.equal(joinSeat(KEY, OTHER), `${KEY}-${OTHER}`);
    assert.equal(joinSeat(KEY, undefined), KEY);
    assert.equal(joinSeat(KEY, "no seat"), KEY);
    assert.equal(joinSeat(KEY, eight), KEY);
    assert.deepEqual(splitSeat(eight), { step: KEY, rest: eight.slice(17) });
    assert.deepEqual(splitSeat(KEY), { step: KEY, rest: "" });
  });
});
