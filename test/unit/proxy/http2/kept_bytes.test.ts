import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KeptBytes } from "#proxy/http2/kept_bytes.ts";

describe("bytes that wait", () => {
  it("come out as they went in, however they are cut on either side", () => {
    for (const [push, take] of [
      [1, 1],
      [1, 9_999],
      [7, 3],
      [16_384, 100],
      [40_000, 30_000],
    ] as const) {
      const kept = new KeptBytes();
      const whole = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 31) % 251));
      const out: Buffer[] = [];
      const some = (): void => {
        const piece = kept.first!.subarray(0, take);
        out.push(Buffer.from(piece));
        kept.drop(piece.length);
      };
      for (let at = 0; at < whole.length; at += push) {
        kept.push(whole.subarray(at, at + push));
        if (at % 3 === 0) some();
      }
      while (kept.size > 0) some();
      assert.ok(Buffer.concat(out).equals(whole), `${push} ${take}`);
      assert.equal(kept.first, undefined);
    }
  });

  it("lie together, even if they come one by one", () => {
    const kept = new KeptBytes();
    for (let i = 0; i < 65_535; i++) kept.push(Buffer.from([i & 0xff]));
    let pieces = 0;
    for (; kept.first !== undefined; pieces++) kept.drop(kept.first.length);
    assert.ok(pieces < 25, `${pieces} pieces`);
  });

  it("are a copy", () => {
    const kept = new KeptBytes();
    const chunk = Buffer.from("abc");
    kept.push(chunk);
    chunk.fill(0);
    assert.equal(kept.first!.toString(), "abc");
    kept.clear();
    assert.equal(kept.size, 0);
  });
});
