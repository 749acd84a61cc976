import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FloodGuard } from "#proxy/http2/flood_guard.ts";

describe("the budget of floods", () => {
  const at = (ms: number) => () => ms;

  it("ends, and time refills it", () => {
    const guard = new FloodGuard(0, 1);
    for (let i = 0; i < 1_000; i++) assert.ok(guard.spend("ping", at(0), 0));
    assert.ok(!guard.spend("ping", at(0), 0));
    let borne = 0;
    while (guard.spend("ping", at(2_000), 0)) borne++;
    assert.equal(borne, 66);
  });

  it("bears a little more than it refills for ever", () => {
    const guard = new FloodGuard(0, 1);
    for (let ms = 0; ms < 600_000; ms += 40) assert.ok(guard.spend("reset", at(ms), 0));
  });

  it("is larger for who is trusted", () => {
    const guard = new FloodGuard(0, 30);
    for (let i = 0; i < 30_000; i++) assert.ok(guard.spend("settings", at(0), 0));
    assert.ok(!guard.spend("settings", at(0), 0));
  });

  it("is paid for by bodies, but not for streams that end badly", () => {
    const guard = new FloodGuard(0, 1);
    for (let i = 0; i < 50_000; i++) assert.ok(guard.spend("window_update", at(0), i));
    for (let i = 0; i < 1_000; i++) guard.spend("reset", at(0), i);
    assert.ok(!guard.spend("reset", at(0), 1_000_000));
    const other = new FloodGuard(0, 1);
    for (let i = 0; i < 1_000; i++) assert.ok(other.spend("stream_error", at(0), 0));
    assert.ok(other.spend("ping", at(0), 0));
    assert.ok(!other.spend("reset", at(0), 0));
  });

  it("is paid for by exchanges that end well: two of three may be given up", () => {
    const guard = new FloodGuard(0, 1);
    for (let i = 0; i < 50_000; i++) {
      assert.ok(guard.spend("reset", at(0), 0));
      assert.ok(guard.spend("reset", at(0), 0));
      guard.earn();
    }
    let more = 0;
    for (; guard.spend("reset", at(0), 0); more++) {
      guard.spend("reset", at(0), 0);
      guard.spend("reset", at(0), 0);
      guard.earn();
    }
    assert.ok(more <= 1_000);
  });
});
