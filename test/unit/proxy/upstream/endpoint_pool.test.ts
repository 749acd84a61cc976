import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import type { ConnectionRules } from "#model/snapshot.ts";
import { type Asked, HeldOrigin, TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";

const close: Array<() => void> = [];
afterEach(() => {
  for (const act of close.splice(0).reverse()) act();
});

async function start(rules?: ConnectionRules, more?: ConstructorParameters<typeof TestPools>[2]) {
  const origin = await HeldOrigin.start();
  close.push(() => origin.stop());
  const pools = new TestPools(origin.port, rules, more);
  close.push(() => pools.stop());
  return { origin, pools };
}

/** Opens as many connections as there are targets, and leaves them idle in this order. */
async function warm(origin: HeldOrigin, pools: TestPools, targets: readonly string[]) {
  const first = origin.sockets.length;
  for (const [i, target] of targets.entries()) {
    pools.ask(target);
    await until(`${target} is asked`, () => origin.said[first + i]?.includes(target) === true);
  }
  for (const [i, target] of targets.entries()) {
    await origin.answer(first + i, target);
    await until(`${target} is idle`, () => pools.count[1] === i + 1);
  }
}

const done = (asked: Asked): Promise<void> => until("it is answered", () => asked.ended);

describe("connections to an endpoint", { timeout: 60_000 }, () => {
  it("are used again, the newest first", async () => {
    const { origin, pools } = await start();
    await warm(origin, pools, ["/a", "/b", "/c"]);
    const again = pools.ask("/d");
    await origin.answer(2, "/d");
    await done(again);
    const both = [pools.ask("/e"), pools.ask("/f")];
    await origin.answer(2, "/e");
    await origin.answer(1, "/f");
    for (const asked of both) await done(asked);
    assert.deepEqual([origin.sockets.length, pools.counters.opened], [3, 3]);
  });

  it("are no more than allowed: who comes later waits, first come first served, and some not at all", async () => {
    const { origin, pools } = await start({ max: 1, pending: 2 });
    const [a, b, c, d] = [pools.ask("/a"), pools.ask("/b"), pools.ask("/c"), pools.ask("/d")];
    assert.equal(d.failure, undefined, "not before open has returned");
    await until("the fourth is refused", () => d.failure !== undefined);
    assert.deepEqual(d.failure, {
      kind: "overloaded",
      detail: "1 connections, 2 requests waiting",
    });
    assert.deepEqual(pools.count, [1, 0, 2]);
    await origin.answer(0, "/a");
    await done(a);
    await origin.answer(0, "/b");
    await done(b);
    assert.deepEqual(pools.count, [1, 0, 0]);
    await origin.answer(0, "/c");
    await done(c);
    assert.deepEqual(origin.said[0]!.match(/\/[a-d] /g), ["/a ", "/b ", "/c "]);
    const { waited, overflowed, timedOut } = pools.counters;
    assert.deepEqual([waited, overflowed, timedOut], [2, 1, 0]);
  });

  it("serve who waits before who has just come", async () => {
    const { origin, pools } = await start({ max: 1 });
    const a = pools.ask("/a");
    const b = pools.ask("/b");
    a.onAnswerEnd = () => void pools.ask("/late");
    await origin.answer(0, "/a");
    await origin.answer(0, "/b");
    await done(b);
    await origin.answer(0, "/late");
    assert.deepEqual(origin.said[0]!.match(/\/\w+ /g), ["/a ", "/b ", "/late "]);
  });

  it("are waited for no longer than allowed", async () => {
    const { origin, pools } = await start({ max: 1, pendingTimeoutMs: 400 });
    const a = pools.ask("/a");
    const b = pools.ask("/b");
    pools.clock.advance(350);
    const c = pools.ask("/c");
    assert.equal(b.failure, undefined);
    pools.clock.advance(100);
    assert.deepEqual(b.failure, {
      kind: "overloaded",
      detail: "no free connection within 400 ms",
    });
    b.stream!.cancel();
    assert.deepEqual([c.failure, pools.count[2], pools.counters.timedOut], [undefined, 1, 1]);
    await origin.answer(0, "/a");
    await done(a);
    await origin.answer(0, "/c");
    await done(c);
    pools.clock.advance(1_000);
    assert.equal(c.failure, undefined);
    assert.ok(!origin.all.includes("/b"));
  });

  it("are not given to who has gone", async () => {
    const { origin, pools } = await start({ max: 1, pending: 2 });
    const a = pools.ask("/a");
    const [b, c] = [pools.ask("/b"), pools.ask("/c")];
    b.stream!.cancel();
    b.stream!.cancel();
    const d = pools.ask("/d");
    assert.deepEqual(pools.count, [1, 0, 2]);
    pools.clock.advance(500);
    await origin.answer(0, "/a");
    await done(a);
    await origin.answer(0, "/c");
    await done(c);
    await origin.answer(0, "/d");
    await done(d);
    assert.deepEqual([b.failure, origin.all.includes("/b")], [undefined, false]);
    // Once its turn has come, giving up closes the connection, as for any other.
    const [e, f] = [pools.ask("/e"), pools.ask("/f")];
    await origin.answer(0, "/e");
    await done(e);
    await until("the last one runs", () => origin.all.includes("/f"));
    f.stream!.cancel();
    assert.deepEqual([pools.count, pools.counters.closed.cancelled], [[0, 0, 0], 1]);
  });

  it("take over what came of a body while it waited, and let its source go on then", async () => {
    const { origin, pools } = await start({ max: 1 });
    pools.ask("/a");
    const body = { method: "POST", body: 6 };
    const [part, whole] = [pools.ask("/part", body), pools.ask("/whole", body)];
    const chunk = Buffer.from("abc");
    assert.equal(part.stream!.sendBody(chunk), false, "the source is to pause");
    chunk.fill("x");
    part.stream!.resume();
    for (const text of ["abc", "def"]) {
      assert.equal(whole.stream!.sendBody(Buffer.from(text)), false);
    }
    whole.stream!.sendEnd(undefined);
    await origin.answer(0, "/a");
    await until("the part has come", () => origin.all.endsWith("\r\n\r\nabc"));
    assert.deepEqual([part.drains, whole.drains], [1, 0]);
    assert.equal(part.stream!.sendBody(Buffer.from("def")), true);
    part.stream!.sendEnd(undefined);
    await origin.answer(0, "/part");
    await done(part);
    await until("the whole has come", () => /\/whole [\s\S]*\r\n\r\nabcdef$/.test(origin.all));
    await origin.answer(0, "/whole");
    await done(whole);
    assert.equal(pools.count[1], 1, "it carries another request");
  });

  it("make room for who waits when they close, also when they never came about", async () => {
    const { origin, pools } = await start({ max: 1 });
    const [a, b] = [pools.ask("/a"), pools.ask("/b")];
    await until("the first is asked", () => origin.all.includes("/a"));
    origin.sockets[0]!.destroy();
    await origin.answer(1, "/b");
    await done(b);
    assert.equal(a.failure?.kind, "closed_early");
    origin.stop();
    await until("both have gone", () => pools.count[0] === 0);
    const [c, d] = [pools.ask("/c"), pools.ask("/d")];
    await until("both have failed", () => d.failure !== undefined);
    assert.deepEqual([c.failure?.kind, d.failure?.kind], ["connect_refused", "connect_refused"]);
    assert.equal(pools.counters.connectFailures.connect_refused, 2);
  });

  it("are one more than allowed where the proxy itself has a question", async () => {
    const { origin, pools } = await start({ max: 1, pending: 0 });
    pools.ask("/a");
    const probe = pools.ask("/probe", {}, true);
    await until("both are asked", () => origin.all.includes("/a") && origin.all.includes("/probe"));
    const i = origin.said.findIndex((said) => said.includes("/probe"));
    await origin.answer(i, "/probe");
    await done(probe);
    assert.deepEqual([pools.count, pools.counters.closed.limit], [[1, 0, 0], 1]);
  });

  it("have a time to come about, TLS included", async () => {
    const tls = { rejectUnauthorized: false };
    const { pools, origin } = await start({ connectTimeoutMs: 300 }, { tls });
    const a = pools.ask("/a");
    await until("the handshake has begun", () => origin.all.length > 0);
    pools.clock.advance(250);
    assert.equal(a.failure, undefined);
    pools.clock.advance(100);
    assert.deepEqual(a.failure, { kind: "connect_timeout", detail: "300 ms" });
    const { connectFailures, opened } = pools.counters;
    assert.deepEqual([connectFailures.connect_timeout, opened], [1, 0]);
  });
});

describe("an old connection", { timeout: 60_000 }, () => {
  it("is closed when nobody used it for a while", async () => {
    const { origin, pools } = await start({ idleTimeoutMs: 2_000 });
    await warm(origin, pools, ["/a"]);
    pools.clock.advance(1_900);
    assert.deepEqual(pools.count, [1, 1, 0]);
    pools.clock.advance(200);
    assert.deepEqual([pools.count, pools.counters.closed.idle], [[0, 0, 0], 1]);
    assert.equal(pools.wheel.size, 0, "nothing is left armed");
  });

  it("is not used after its lifetime: closed if idle, else after its answer", async () => {
    const { origin, pools } = await start({ lifetimeMs: 60_000, idleTimeoutMs: 600_000 });
    await warm(origin, pools, ["/a", "/b"]);
    const running = pools.ask("/c");
    pools.clock.advance(59_900);
    assert.deepEqual(pools.count, [2, 1, 0]);
    pools.clock.advance(200);
    assert.deepEqual(pools.count, [1, 0, 0]);
    assert.equal(running.failure, undefined);
    await origin.answer(1, "/c");
    await done(running);
    assert.deepEqual([pools.count, pools.counters.closed.lifetime], [[0, 0, 0], 2]);
    assert.equal(pools.wheel.size, 0, "nothing is left armed");
  });

  it("lives up to a tenth shorter, by chance", async () => {
    const { origin, pools } = await start(
      { lifetimeMs: 60_000, idleTimeoutMs: 600_000 },
      { early: 0.999 },
    );
    await warm(origin, pools, ["/a"]);
    pools.clock.advance(53_900);
    assert.equal(pools.count[0], 1);
    pools.clock.advance(300);
    assert.equal(pools.count[0], 0);
  });

  it("lives for ever where that is said, and for an hour where nothing is", async () => {
    for (const [lifetimeMs, left] of [
      [0, 1],
      [undefined, 0],
    ] as const) {
      const idle = { idleTimeoutMs: 100 * 3_600_000 };
      const rules = lifetimeMs === undefined ? idle : { ...idle, lifetimeMs };
      const { origin, pools } = await start(rules);
      await warm(origin, pools, ["/a"]);
      pools.clock.advance(3_599_000);
      assert.equal(pools.count[0], 1);
      pools.clock.advance(2_000);
      assert.equal(pools.count[0], left);
    }
  });

  it("carries so many requests and no more", async () => {
    const { origin, pools } = await start({ requests: 2 });
    for (const [i, target] of ["/a", "/b", "/c", "/d"].entries()) {
      const asked = pools.ask(target);
      await origin.answer(i >> 1, target);
      await done(asked);
    }
    assert.deepEqual([pools.count, pools.counters.closed.requests], [[0, 0, 0], 2]);
  });

  it("carries up to a tenth fewer, by chance", async () => {
    const { origin, pools } = await start({ requests: 20 }, { early: 0.999 });
    for (let i = 0; i < 19; i++) {
      const asked = pools.ask(`/${i}`);
      await origin.answer(0, `/${i}`);
      await done(asked);
    }
    assert.deepEqual([pools.count[0], pools.counters.closed.requests], [0, 1]);
  });

  it("is not used after an answer that says so", async () => {
    const { origin, pools } = await start();
    const asked = pools.ask("/a");
    await origin.answer(0, "/a", "connection: close\r\n");
    await done(asked);
    assert.deepEqual([pools.count, pools.counters.closed.endpoint], [[0, 0, 0], 1]);
  });
});
