import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { FAILURES } from "#proxy/exchange/failure.ts";
import { HeldOrigin, TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";

const close: Array<() => void> = [];
afterEach(() => {
  for (const act of close.splice(0).reverse()) act();
});

/** One idle connection, or more. */
async function idle(count = 1) {
  const origin = await HeldOrigin.start();
  close.push(() => origin.stop());
  const pools = new TestPools(origin.port, undefined);
  close.push(() => pools.stop());
  for (let i = 0; i < count; i++) {
    pools.ask(`/${i}`);
    await until("it is asked", () => origin.all.includes(`/${i} `));
  }
  for (let i = 0; i < count; i++) await origin.answer(i, `/${i}`);
  await until("they are idle", () => pools.count[1] === count);
  return { origin, pools };
}

describe("an idle connection", { timeout: 60_000 }, () => {
  for (const [what, act] of [
    ["the endpoint ends", (origin: HeldOrigin) => origin.sockets[1]!.end()],
    ["the endpoint resets", (origin: HeldOrigin) => origin.sockets[1]!.resetAndDestroy()],
    ["says something unasked", (origin: HeldOrigin) => origin.sockets[1]!.write("HTTP/1.1 408")],
  ] as const) {
    it(`that ${what} is no longer there`, async () => {
      const { origin, pools } = await idle(3);
      act(origin);
      await until("it has gone", () => pools.count[0] === 2);
      assert.deepEqual([pools.count, pools.counters.closed.stale], [[2, 2, 0], 1]);
      const [a, b] = [pools.ask("/a"), pools.ask("/b")];
      await origin.answer(2, "/a");
      await origin.answer(0, "/b");
      await until("both are answered", () => a.ended && b.ended);
      assert.equal(origin.sockets.length, 3);
    });
  }

  it("that goes with all the others leaves nothing behind", async () => {
    const { origin, pools } = await idle(50);
    for (const socket of origin.sockets) socket.end();
    await until("all have gone", () => pools.count[0] === 0);
    assert.deepEqual([pools.count[1], pools.counters.closed.stale], [0, 50]);
  });
});

describe("a request that meets a dying idle connection", { timeout: 60_000 }, () => {
  const post = { method: "POST", body: 3 };

  it("may have been read if the endpoint had only said that it ends", async () => {
    const { origin, pools } = await idle();
    // The end is on its way and has not been read: the request goes out.
    origin.sockets[0]!.destroy();
    const asked = pools.ask("/a", post);
    asked.stream!.sendBody(Buffer.from("abc"));
    asked.stream!.sendEnd(undefined);
    await until("it has failed", () => asked.failure !== undefined);
    assert.equal(asked.failure!.kind, "stale_connection");
    assert.equal(FAILURES.stale_connection.retry, "idempotent");
    assert.equal(pools.counters.closed.stale, 1);
  });

  it("has not left if the kernel took nothing of it", async () => {
    const { origin, pools } = await idle();
    // The reset is there already, and nobody has looked.
    origin.sockets[0]!.resetAndDestroy();
    const asked = pools.ask("/a", post);
    asked.stream!.sendBody(Buffer.from("abc"));
    asked.stream!.sendEnd(undefined);
    await until("it has failed", () => asked.failure !== undefined);
    assert.equal(asked.failure!.kind, "not_sent");
    assert.equal(FAILURES.not_sent.retry, "always");
  });

  it("has not left either if its body is large", async () => {
    const { origin, pools } = await idle();
    origin.sockets[0]!.resetAndDestroy();
    const asked = pools.ask("/a", { method: "POST", body: 100_000 });
    asked.stream!.sendBody(Buffer.alloc(100_000));
    asked.stream!.sendEnd(undefined);
    await until("it has failed", () => asked.failure !== undefined);
    assert.equal(asked.failure!.kind, "not_sent");
  });

  it("may have been read if it was cut after it had begun to leave", async () => {
    const { origin, pools } = await idle();
    const asked = pools.ask("/a", { method: "POST", body: 6 });
    asked.stream!.sendBody(Buffer.from("abc"));
    await until("some has come", () => origin.all.endsWith("abc"));
    origin.sockets[0]!.resetAndDestroy();
    asked.stream!.sendBody(Buffer.from("def"));
    await until("it has failed", () => asked.failure !== undefined);
    assert.equal(asked.failure!.kind, "stale_connection");
  });

  it("may have been read if a large part of it has left", async () => {
    const { origin, pools } = await idle();
    const asked = pools.ask("/a", { method: "POST", body: 200_000 });
    asked.stream!.sendBody(Buffer.alloc(100_000));
    await until("some has come", () => origin.all.includes("/a"));
    origin.sockets[0]!.resetAndDestroy();
    await until("it has failed", () => asked.failure !== undefined);
    assert.equal(asked.failure!.kind, "stale_connection");
  });

  it("finds a new connection when it is sent again, though others are idle", async () => {
    const { origin, pools } = await idle(3);
    for (const socket of origin.sockets) socket.resetAndDestroy();
    const asked = pools.ask("/a");
    let again: ReturnType<typeof pools.ask> | undefined;
    asked.onFailed = () => {
      again = pools.ask("/again");
    };
    await origin.answer(3, "/again");
    await until("it is answered", () => again?.ended === true);
    assert.deepEqual(pools.count, [1, 1, 0]);
  });
});
