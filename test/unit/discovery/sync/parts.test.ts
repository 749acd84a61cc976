import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Follower } from "#discovery/sync/follower.ts";
import { Owner } from "#discovery/sync/owner.ts";
import { entriesOf, type Part, wholePart } from "#discovery/sync/parts.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";

type Value = { readonly n: number };

/** A part named `name`: of some shared maps one, without some key of it, and now and then something of its own. */
function anyPart(
  rng: Rng,
  name: string,
  shared: readonly ReadonlyMap<string, Value>[],
): Part<Value> {
  const without = rng.next() < 0.5 ? undefined : `${name}${rng.below(4)}`;
  const own = new Map(rng.next() < 0.5 ? [] : [[`${name}-own`, { n: rng.below(3) }] as const]);
  return { shared: shared[rng.below(shared.length)]!, without, own };
}

describe("a state in parts", () => {
  it("is told step by step as the same state in one piece is, whatever changes", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const rng = seededRng(seed);
      const shared = (name: string) =>
        [1, 2, 3].map(
          () =>
            new Map(
              Array.from(
                { length: rng.below(4) },
                (_, i) => [`${name}${i}`, { n: rng.below(3) }] as const,
              ),
            ),
        );
      const maps = new Map(["a", "b", "c"].map((name) => [name, shared(name)]));
      const [inParts, whole] = [new Owner<Value>("1-a"), new Owner<Value>("1-a")];
      const follower = new Follower<Value>({ accept: (_, value) => value as Value, quota: 100 });
      for (let step = 0; step < 20; step++) {
        const parts = new Map(
          [...maps].flatMap(([name, of]) =>
            rng.next() < 0.2 ? [] : [[name, anyPart(rng, name, of)] as const],
          ),
        );
        const all = new Map([...parts.values()].flatMap((part) => [...entriesOf(part)]));
        const changed = inParts.becomeParts(parts);
        assert.equal(changed, whole.become(all), `seed ${seed}, step ${step}`);
        const [delta, other] = [inParts.flush(), whole.flush()];
        assert.deepEqual(inParts.heartbeat(), whole.heartbeat());
        assert.deepEqual(new Map(delta?.u), new Map(other?.u));
        if (delta === undefined) continue;
        if (follower.onDelta(delta, 0).need !== undefined) {
          for (const part of inParts.snapshot()) follower.onSnapshot(part, 0);
        }
        assert.deepEqual(follower.onHeartbeat(inParts.heartbeat(), 0), { changed: false });
        assert.deepEqual(new Map(follower.entries()), all);
      }
    }
  });

  it("that is begun tells no more than that it begins: who follows asks for the whole", () => {
    const owner = new Owner<Value>("1-a");
    owner.become(new Map([["a", { n: 1 }]]));
    assert.deepEqual(owner.flush(), { e: "1-a", s: 1, u: [] });
    owner.becomeParts(new Map([["", wholePart(new Map([["a", { n: 2 }]]))]]));
    assert.deepEqual(owner.flush()?.u, [["a", { n: 2 }]]);
  });

  it("that was empty when somebody heard of it tells what comes first at once", () => {
    const owner = new Owner<Value>("1-a");
    owner.become(new Map());
    owner.heartbeat();
    owner.become(new Map([["a", { n: 1 }]]));
    assert.deepEqual(owner.flush()?.u, [["a", { n: 1 }]]);
  });
});
