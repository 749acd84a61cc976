import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import type { ConnectionRules } from "#model/snapshot.ts";
import { CONNECTION_POLICY, policyOf, strictest } from "#proxy/upstream/connection_policy.ts";
import { HeldOrigin, TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";

const close: Array<() => void> = [];
afterEach(() => {
  for (const act of close.splice(0).reverse()) act();
});

async function start(rules: ConnectionRules) {
  const origin = await HeldOrigin.start();
  close.push(() => origin.stop());
  const pools = new TestPools(origin.port, rules);
  close.push(() => pools.stop());
  return { origin, pools };
}

describe("changed limits", { timeout: 60_000 }, () => {
  it("let in who waits when there may be more", async () => {
    const { origin, pools } = await start({ max: 1 });
    for (const target of ["/a", "/b", "/c", "/d"]) pools.ask(target);
    assert.deepEqual(pools.count, [1, 0, 3]);
    pools.follow({ max: 3 });
    assert.deepEqual(pools.count, [3, 0, 1]);
    await until("three are asked", () => ["/a", "/b", "/c"].every((t) => origin.all.includes(t)));
    assert.ok(!origin.all.includes("/d"));
  });

  it("close what is idle and let what runs end when there may be fewer", async () => {
    const { origin, pools } = await start({ max: 3 });
    const all = ["/a", "/b", "/c"].map((target) => pools.ask(target));
    await until("all are asked", () => ["/a", "/b", "/c"].every((t) => origin.all.includes(t)));
    const at = (target: string): number => origin.said.findIndex((said) => said.includes(target));
    await origin.answer(at("/a"), "/a");
    await until("one is idle", () => pools.count[1] === 1);
    pools.follow({ max: 1 });
    assert.deepEqual(pools.count, [2, 0, 0]);
    const waiting = pools.ask("/d");
    await origin.answer(at("/b"), "/b");
    await until("it is closed", () => pools.count[0] === 1);
    await origin.answer(at("/c"), "/c");
    await origin.answer(at("/c"), "/d");
    await until("all are answered", () => waiting.ended && all.every(({ ended }) => ended));
    assert.deepEqual([pools.count, pools.counters.closed.limit], [[1, 1, 0], 2]);
  });

  it("hold for connections that are open already", async () => {
    const idleTimeoutMs = 10 * 3_600_000;
    const { origin, pools } = await start({ idleTimeoutMs });
    const warm = async (target: string, i: number): Promise<void> => {
      pools.ask(target);
      await origin.answer(i, target);
      await until("it is idle", () => pools.count[1] === 1);
    };
    await warm("/a", 0);
    pools.clock.advance(100_000);
    pools.follow({ idleTimeoutMs, lifetimeMs: 200_000 });
    pools.clock.advance(99_000);
    assert.equal(pools.count[0], 1);
    pools.clock.advance(2_000);
    assert.deepEqual([pools.count[0], pools.counters.closed.lifetime], [0, 1]);
    await warm("/b", 1);
    pools.follow({ idleTimeoutMs, lifetimeMs: 0 });
    pools.clock.advance(3_600_000);
    assert.equal(pools.count[0], 1);
    pools.follow({ idleTimeoutMs, lifetimeMs: 1_000 });
    pools.clock.advance(100);
    assert.equal(pools.count[0], 0, "older than that already");
    await warm("/c", 2);
    pools.follow({ requests: 2 });
    const last = pools.ask("/d");
    await origin.answer(2, "/d");
    await until("it is answered", () => last.ended);
    assert.deepEqual([pools.count[0], pools.counters.closed.requests], [0, 1]);
  });

  it("are the lesser of each where two services name an endpoint, and the usual ones where none says any", async () => {
    const a = policyOf({ max: 5, pending: 7, lifetimeMs: 0, requests: 0 });
    const b = policyOf({ max: 6, pending: 6, requests: 9 });
    assert.deepEqual(strictest(a, b), {
      ...CONNECTION_POLICY,
      connectionsMax: 5,
      pendingMax: 6,
      lifetimeMs: 3_600_000,
      requestsMax: 9,
    });
    const { pools } = await start({ max: 5 });
    const { endpoint, upstreams } = pools;
    const same = { ...endpoint };
    upstreams.retain([
      { endpoint, rules: { max: 5 } },
      { endpoint: same, rules: { connectTimeoutMs: 7 } },
    ]);
    assert.deepEqual(upstreams.policy(same), {
      ...CONNECTION_POLICY,
      connectionsMax: 5,
      connectTimeoutMs: 7,
    });
    upstreams.retain([]);
    assert.equal(upstreams.policy(endpoint), CONNECTION_POLICY);
  });
});

describe("requests that wait", { timeout: 60_000 }, () => {
  it("fail as not sent when the link is cut, unlike what runs", async () => {
    const { origin, pools } = await start({ max: 1 });
    const running = pools.ask("/a");
    await until("it is asked", () => origin.all.includes("/a"));
    const waiting = pools.ask("/b");
    let again: ReturnType<typeof pools.ask> | undefined;
    waiting.onFailed = () => {
      again = pools.ask("/again");
    };
    pools.upstreams.sever(pools.endpoint);
    assert.deepEqual(
      [running.failure?.kind, waiting.failure?.kind],
      ["link_down", "connect_refused"],
    );
    assert.equal(pools.counters.closed.link, 1);
    await origin.answer(1, "/again");
    await until("it can be asked again", () => again?.ended === true);
    assert.ok(!origin.all.includes("/b"));
    pools.follow({ max: 2 });
    const known = pools.ask("/c");
    const connecting = pools.ask("/d");
    assert.deepEqual(pools.count, [2, 0, 0]);
    pools.upstreams.sever(pools.endpoint);
    assert.deepEqual(
      [known.failure?.kind, connecting.failure?.kind],
      ["link_down", "connect_refused"],
    );
  });

  it("are served still when no configuration names the endpoint any more", async () => {
    const { origin, pools } = await start({ max: 1 });
    const [a, b] = [pools.ask("/a"), pools.ask("/b")];
    await until("it is asked", () => origin.all.includes("/a"));
    pools.upstreams.retain([]);
    await origin.answer(0, "/a");
    await origin.answer(1, "/b");
    await until("both are answered", () => a.ended && b.ended);
    await until("both connections are closed", () => origin.closed === 2);
    assert.equal(pools.counters.closed.retired, 2);
  });

  it("are told when the proxy ends", async () => {
    const { pools } = await start({ max: 1 });
    pools.ask("/a");
    const waiting = pools.ask("/b");
    pools.upstreams.close();
    assert.equal(waiting.failure?.kind, "draining");
    pools.clock.advance(10_000);
  });

  it("leave nobody a way to an endpoint that is none any more", async () => {
    const { origin, pools } = await start({});
    pools.upstreams.retain([]);
    const late = pools.ask("/late");
    await until("it is refused", () => late.failure !== undefined);
    assert.equal(late.failure!.kind, "connect_refused");
    assert.equal(origin.sockets.length, 0);
    pools.follow({});
    pools.ask("/again");
    await until("it is asked again", () => origin.all.includes("/again"));
  });
});
