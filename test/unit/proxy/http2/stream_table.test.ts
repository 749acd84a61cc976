import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { StreamTable } from "#proxy/http2/stream_table.ts";

describe("open streams", () => {
  it("are what a map of them would be, however long some of them stay", () => {
    const rng = seededRng(7);
    const table = new StreamTable<{ readonly id: number }>();
    const map = new Map<number, { readonly id: number }>();
    const open: Array<{ readonly id: number }> = [];
    let next = 1;
    for (let i = 0; i < 50_000; i++) {
      if (open.length < 300 && rng.next() < 0.55) {
        const stream = { id: next };
        // Now and then ids are left out: far enough to meet those that have stayed.
        next += rng.next() < 0.05 ? 2 * rng.below(3_000) + 2 : 2;
        table.add(stream);
        map.set(stream.id, stream);
        open.push(stream);
      } else if (open.length > 0) {
        // The old ones stay, mostly.
        const at = rng.next() < 0.9 ? open.length - 1 : rng.below(open.length);
        const [stream] = open.splice(at, 1);
        table.delete(stream!);
        map.delete(stream!.id);
        assert.equal(table.get(stream!.id), undefined);
      }
      assert.equal(table.size, map.size);
      if (i % 1_000 === 0) assert.deepEqual(table.all(), [...map.values()]);
    }
    for (const [id, stream] of map) assert.equal(table.get(id), stream);
    assert.equal(table.get(next), undefined);
  });
});
