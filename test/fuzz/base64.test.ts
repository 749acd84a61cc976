import assert from "node:assert/strict";
import { it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { Base64Decoder, Base64Encoder } from "#proxy/filter/base64_stream.ts";
import { replay, seeds } from "#test/fuzz/budget.ts";

const upTo = (rng: Rng, max: number): number => Math.floor(rng.next() * (max + 1));

/** Cut anywhere, small pieces mostly. */
function* pieces(rng: Rng, bytes: Buffer): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + upTo(rng, rng.next() < 0.8 ? 8 : 500);
    yield bytes.subarray(at, end);
    at = end;
  }
}

it("what is written in base64, in any pieces, is read in any others", () => {
  for (const seed of seeds(2_000)) {
    const rng = seededRng(seed);
    const bytes = Buffer.from(Array.from({ length: upTo(rng, 2_000) }, () => upTo(rng, 255)));
    const encoder = new Base64Encoder();
    let text = "";
    for (const piece of pieces(rng, bytes)) {
      text += encoder.encode(piece, 0, piece.length, rng.next() < 0.2);
    }
    text += encoder.encode(bytes, 0, 0, true);
    const decoder = new Base64Decoder();
    const read = [...pieces(rng, Buffer.from(text))].map((piece) => decoder.decode(piece)!);
    assert.ok(decoder.isWhole, replay("base64.test.ts", seed, text));
    assert.ok(Buffer.concat(read).equals(bytes), replay("base64.test.ts", seed, text));
  }
});

it("what is nearly base64 is read as Node reads it, or not at all", () => {
  for (const seed of seeds(5_000)) {
    const rng = seededRng(seed);
    const good = Buffer.from(Array.from({ length: upTo(rng, 30) }, () => upTo(rng, 255)));
    const text = Buffer.from(good.toString("base64"));
    if (text.length > 0) text[upTo(rng, text.length - 1)] = rng.next() < 0.3 ? 61 : upTo(rng, 255);
    const decoder = new Base64Decoder();
    const read = [...pieces(rng, text)].map((piece) => decoder.decode(piece));
    const asNode = Buffer.from(text.toString("latin1"), "base64");
    // Without padding inside, what Node writes again is the one way to write it.
    const isStrict = asNode.toString("base64") === text.toString("latin1");
    if (isStrict) {
      assert.ok(Buffer.concat(read as Buffer[]).equals(asNode), replay("base64.test.ts", seed, ""));
    } else if (decoder.isWhole && !read.includes(undefined)) {
      assert.match(text.toString("latin1"), /=[^=]/, replay("base64.test.ts", seed, ""));
    }
  }
});
