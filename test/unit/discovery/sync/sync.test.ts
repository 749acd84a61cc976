import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CopiedState } from "#discovery/sync/copied_state.ts";
import { Follower } from "#discovery/sync/follower.ts";
import { LEASE_MS, leaseState, older } from "#discovery/sync/lease.ts";
import { decode, encode } from "#discovery/sync/messages.ts";
import { Owner } from "#discovery/sync/owner.ts";
import { StateHash } from "#discovery/sync/state_hash.ts";
import { factSubject, readUp } from "#discovery/sync/subjects.ts";
import { seededRng } from "#kernel/rng.ts";

const accept = (_key: string, value: unknown): number | undefined =>
  typeof value === "number" && value >= 0 ? value : undefined;
const newFollower = (quota = 100): Follower<number> => new Follower({ accept, quota });
const entriesOf = (follower: Follower<number>): Record<string, number> =>
  Object.fromEntries(follower.entries());
const stateOf = (entries: Record<string, number>): Map<string, number> =>
  new Map(Object.entries(entries));

/** Owner and follower that have met. */
function pair(entries: Record<string, number>, epoch = "1-a") {
  const owner = new Owner<number>(epoch);
  owner.become(stateOf(entries));
  owner.flush();
  const follower = newFollower();
  for (const part of owner.snapshot()) follower.onSnapshot(part, 0);
  return { owner, follower };
}

describe("owner and follower", () => {
  it("agree after a snapshot and after each delta", () => {
    const { owner, follower } = pair({ a: 1, b: 2 });
    assert.deepEqual(entriesOf(follower), { a: 1, b: 2 });
    owner.become(stateOf({ b: 3, c: 4 }));
    const delta = owner.flush()!;
    assert.deepEqual(delta.u, [
      ["a", null],
      ["b", 3],
      ["c", 4],
    ]);
    assert.deepEqual(follower.onDelta(delta, 1), { changed: true });
    assert.deepEqual(entriesOf(follower), { b: 3, c: 4 });
    assert.deepEqual(follower.onHeartbeat(owner.heartbeat(), 1), { changed: false });
  });

  it("say nothing when nothing has changed", () => {
    const { owner } = pair({ a: 1 });
    assert.equal(owner.become(stateOf({ a: 1 })), false);
    assert.equal(owner.flush(), undefined);
  });

  it("notice a lost delta, and go on serving until the snapshot comes", () => {
    const { owner, follower } = pair({ a: 1 });
    owner.become(stateOf({ a: 2 }));
    owner.flush();
    owner.become(stateOf({ a: 3 }));
    assert.deepEqual(follower.onDelta(owner.flush()!, 1), { changed: false, need: "gap" });
    assert.deepEqual(entriesOf(follower), { a: 1 });
    for (const part of owner.snapshot()) follower.onSnapshot(part, 2);
    assert.deepEqual(entriesOf(follower), { a: 3 });
  });

  it("notice a lost last delta by the heartbeat", () => {
    const { owner, follower } = pair({ a: 1 });
    owner.become(stateOf({ a: 2 }));
    owner.flush();
    assert.equal(follower.onHeartbeat(owner.heartbeat(), 1).need, "gap");
  });

  it("notice that they differ though they count alike", () => {
    const { owner, follower } = pair({ a: 1 });
    const { e, s, n } = owner.heartbeat();
    assert.equal(follower.onHeartbeat({ e, s, n, h: "0".repeat(16) }, 1).need, "hash");
  });

  it("start anew with an owner that has started anew, and withdraw what it does not say", () => {
    const { follower } = pair({ a: 1, b: 2 }, "1-a");
    const reborn = new Owner<number>("2-b");
    reborn.become(stateOf({ b: 2 }));
    reborn.flush();
    assert.equal(follower.onHeartbeat(reborn.heartbeat(), 1).need, "epoch");
    assert.deepEqual(entriesOf(follower), { a: 1, b: 2 }, "until then nothing is lost");
    for (const part of reborn.snapshot()) follower.onSnapshot(part, 2);
    assert.deepEqual(entriesOf(follower), { b: 2 });
  });

  it("do not listen to an older owner while the newer one is heard", () => {
    const { follower } = pair({ a: 1 }, "5-new");
    const old = pair({ z: 9 }, "4-old").owner;
    for (const part of old.snapshot()) follower.onSnapshot(part, 1);
    assert.deepEqual(entriesOf(follower), { a: 1 });
    for (const part of old.snapshot()) follower.onSnapshot(part, LEASE_MS + 1);
    assert.deepEqual(entriesOf(follower), { z: 9 }, "when the newer one has gone silent");
  });

  it("put a large state together from its parts, in any order", () => {
    const owner = new Owner<number>("1-a");
    const large = Object.fromEntries(
      Array.from({ length: 20_000 }, (_, i) => [`service-number-${i}.shop`, i]),
    );
    owner.become(stateOf(large));
    owner.flush();
    const parts = owner.snapshot();
    assert.ok(parts.length > 2);
    for (const part of parts) assert.ok(encode("snap", part).length < 500_000);
    const follower = newFollower(100_000);
    for (const part of parts.toReversed()) follower.onSnapshot(part, 0);
    assert.deepEqual(entriesOf(follower), large);
    assert.deepEqual(follower.onHeartbeat(owner.heartbeat(), 0), { changed: false });
  });

  it("leave out what may not be said, without asking for ever", () => {
    const { owner, follower } = pair({ good: 1, bad: -1 });
    assert.deepEqual(entriesOf(follower), { good: 1 });
    assert.equal(follower.refused, 1);
    assert.deepEqual(follower.onHeartbeat(owner.heartbeat(), 1), { changed: false });
  });

  it("keep to their quota, however often an entry is said", () => {
    const owner = new Owner<number>("1-a");
    owner.become(stateOf({ a: 1, b: 2, c: 3 }));
    owner.flush();
    const follower = newFollower(2);
    for (const part of owner.snapshot()) follower.onSnapshot(part, 0);
    assert.deepEqual(entriesOf(follower), { a: 1, b: 2 });
    const say = (entries: Record<string, number>): void => {
      owner.become(stateOf(entries));
      follower.onDelta(owner.flush()!, 1);
      assert.deepEqual(follower.onHeartbeat(owner.heartbeat(), 1), { changed: false });
    };
    say({ a: 1, b: 2, c: 4 });
    assert.deepEqual(entriesOf(follower), { a: 1, b: 2 }, "said twice");
    say({ a: -1, b: 3, c: 5 });
    assert.deepEqual(entriesOf(follower), { b: 3, c: 5 }, "the room of one that is not good now");
    say({ c: 6, d: 6 });
    assert.deepEqual(entriesOf(follower), { c: 6, d: 6 }, "the room of one that was withdrawn");
  });

  it("forget what comes far beyond their quota, and agree with its owner again by a snapshot", () => {
    const many = (value: number): Map<string, number> =>
      new Map(Array.from({ length: 100 }, (_, i) => [`k${i}`, value]));
    const owner = new Owner<number>("1-a");
    owner.become(many(1));
    owner.flush();
    const follower = newFollower(2);
    const snapshot = (): void => {
      for (const part of owner.snapshot()) follower.onSnapshot(part, 0);
      assert.deepEqual(follower.onHeartbeat(owner.heartbeat(), 0), { changed: false });
    };
    snapshot();
    owner.become(many(2));
    follower.onDelta(owner.flush()!, 1);
    assert.deepEqual(entriesOf(follower), { k0: 2, k1: 2 });
    assert.equal(follower.onHeartbeat(owner.heartbeat(), 1).need, "hash");
    snapshot();
    assert.deepEqual(entriesOf(follower), { k0: 2, k1: 2 });
  });

  it("keep nothing of a snapshot's parts beyond their quota while the last is missing", () => {
    const state = new CopiedState<number>({ accept, quota: 10 });
    const judged: string[] = [];
    const follower = new Follower<number>({
      quota: 10,
      accept: (key, value) => {
        judged.push(key);
        return accept(key, value);
      },
    });
    for (let i = 0; i < 9_999; i++) {
      const u = [[`k${i}`, i]] as Array<[string, unknown]>;
      follower.onSnapshot({ e: "1-a", s: 1, h: "0".repeat(16), i, of: 10_000, u }, 0);
      for (const [key, value] of u) state.put(key, value);
    }
    assert.equal(judged.length, 10, "each part is judged as it comes");
    assert.equal(follower.refused, 9_989);
    assert.deepEqual([[...state.accepted()].length, state.size], [10, 20]);
  });

  it("end with a goodbye of the same owner only", () => {
    const { follower } = pair({ a: 1 }, "1-a");
    follower.onBye("1-b");
    assert.deepEqual(entriesOf(follower), { a: 1 });
    assert.equal(follower.onBye("1-a").changed, true);
    assert.deepEqual(entriesOf(follower), {});
  });

  it("serve what was restored until one lease has passed, and then grow old", () => {
    const follower = newFollower();
    follower.restore([["a", 1]], 1_000);
    assert.equal(follower.lease(1_000), "fresh");
    assert.equal(follower.lease(1_000 + LEASE_MS), "stale");
    assert.deepEqual(entriesOf(follower), { a: 1 });
  });

  it("converge whatever is lost, repeated or late", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const rng = seededRng(seed);
      const owner = new Owner<number>("1-a");
      const follower = newFollower();
      for (let step = 0; step < 100; step++) {
        const entries: Record<string, number> = {};
        for (let i = 0; i < rng.below(5); i++) entries[`k${rng.below(6)}`] = rng.below(3);
        owner.become(stateOf(entries));
        const delta = owner.flush();
        const lost = rng.next() < 0.3;
        const step_ = delta === undefined || lost ? undefined : follower.onDelta(delta, step);
        if (step_?.need !== undefined && rng.next() < 0.5) {
          for (const part of owner.snapshot()) follower.onSnapshot(part, step);
        }
        if (delta !== undefined && rng.next() < 0.2) follower.onDelta(delta, step);
      }
      if (follower.onHeartbeat(owner.heartbeat(), 100).need !== undefined) {
        for (const part of owner.snapshot()) follower.onSnapshot(part, 100);
      }
      const said = Object.fromEntries(owner.snapshot().flatMap(({ u }) => u));
      assert.deepEqual(entriesOf(follower), said, `seed ${seed}`);
    }
  });
});

describe("state hash", () => {
  it("does not depend on the order, and forgets what is taken out", () => {
    const a = new StateHash();
    const b = new StateHash();
    a.toggle("x", "1");
    a.toggle("y", "2");
    b.toggle("y", "2");
    b.toggle("x", "1");
    assert.equal(a.text(), b.text());
    a.toggle("y", "2");
    assert.notEqual(a.text(), b.text());
    a.toggle("x", "1");
    assert.equal(a.text(), "0".repeat(16));
  });
});

describe("leases", () => {
  it("grow old by the lease", () => {
    const states = [0, 1, 2, 3].map((leases) => leaseState(0, leases * LEASE_MS));
    assert.deepEqual(states, ["fresh", "stale", "suspect", "expired"]);
    assert.equal(older("fresh", "stale"), "stale");
    assert.equal(older("suspect", "stale"), "suspect");
  });
});

describe("messages", () => {
  it("are read back as they were sent, and nothing else is", () => {
    const body = { e: "1-a", s: 3, u: [["k", null]] as Array<[string, unknown]> };
    assert.deepEqual(decode("delta", encode("delta", body)), body);
    for (const text of [
      "",
      "null",
      "[]",
      "{",
      '{"e":"x","s":1,"u":[]}',
      '{"e":"1-a","s":-1,"u":[]}',
      '{"e":"1-a","s":1,"u":[["k"]]}',
      '{"e":"1-a","s":1.5,"u":[]}',
      '{"e":"1-a","s":1,"u":[[1,2]]}',
    ]) {
      assert.equal(decode("delta", Buffer.from(text)), undefined, text);
    }
  });

  it("tell who has sent them by their subject alone", () => {
    assert.deepEqual(readUp(factSubject("eu", "delta")), { child: "eu", rest: "delta" });
    assert.deepEqual(readUp("mesh.v1.up.eu.need.view"), { child: "eu", rest: "need.view" });
    for (const subject of [
      "mesh.v1.dn.eu.view.hb",
      "mesh.v1.up.eu",
      "mesh.v1.up..hb",
      "mesh.v1.up.*.hb",
    ]) {
      assert.equal(readUp(subject), undefined, subject);
    }
  });
});
