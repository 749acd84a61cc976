import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  giveReadBuffer,
  hold,
  isHeld,
  letGo,
  replaceHeld,
  takeReadBuffer,
} from "#proxy/socket/held_buffers.ts";

describe("buffers that slow peers hold", () => {
  it("are read into again when the last holder has let go, not before", () => {
    const mine = takeReadBuffer();
    hold(mine.subarray(0, 10));
    hold(mine.subarray(10, 20));
    const other = replaceHeld(mine);
    assert.notEqual(other, mine);
    letGo(mine.buffer);
    assert.ok(isHeld(mine));
    const third = takeReadBuffer();
    assert.notEqual(third, mine);
    letGo(mine.buffer);
    assert.ok(!isHeld(mine));
    assert.equal(takeReadBuffer(), mine);
  });

  it("stay with their reader if it has not taken another meanwhile", () => {
    const mine = takeReadBuffer();
    hold(mine);
    letGo(mine.buffer);
    assert.notEqual(takeReadBuffer(), mine);
  });

  it("are free at once, or when they are let go, if their reader has ended", () => {
    const free = takeReadBuffer();
    giveReadBuffer(free);
    assert.equal(takeReadBuffer(), free);
    hold(free);
    giveReadBuffer(free);
    assert.notEqual(takeReadBuffer(), free);
    letGo(free.buffer);
    assert.equal(takeReadBuffer(), free);
  });

  it("are small ones when slow peers hold as many large ones as there may be", () => {
    const lengths = Array.from({ length: 100 }, () => takeReadBuffer().length);
    const large = Math.max(...lengths);
    assert.ok(lengths.filter((length) => length === large).length <= 64);
    assert.ok(lengths.at(-1)! < large);
  });
});
