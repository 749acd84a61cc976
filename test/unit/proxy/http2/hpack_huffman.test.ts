import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  huffmanBytes,
  huffmanDecode,
  huffmanDecodedMax,
  huffmanEncode,
} from "#proxy/http2/hpack_huffman.ts";
import { hex } from "#test/kit/hpack.ts";

function encode(text: string): Buffer {
  const buffer = Buffer.alloc(huffmanBytes(text));
  assert.equal(huffmanEncode(text, buffer, 0), buffer.length);
  return buffer;
}

function decode(coded: Buffer): string | undefined {
  const into = Buffer.alloc(huffmanDecodedMax(coded.length) + 1);
  const length = huffmanDecode(coded, 0, coded.length, into);
  return length < 0 ? undefined : into.latin1Slice(0, length);
}

/** RFC 7541 Appendix C. */
const EXAMPLES: ReadonlyArray<readonly [text: string, coded: string]> = [
  ["www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"],
  ["no-cache", "a8eb 1064 9cbf"],
  ["custom-key", "25a8 49e9 5ba9 7d7f"],
  ["custom-value", "25a8 49e9 5bb8 e8b4 bf"],
  ["302", "6402"],
  ["private", "aec3 771a 4b"],
  ["Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"],
  ["https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"],
  ["307", "640e ff"],
  ["gzip", "9bd9 ab"],
];

/** None of them is a string (RFC 7541 §5.2). */
const REFUSED: ReadonlyArray<readonly [why: string, coded: string]> = [
  ["eight bits of padding and nothing else", "ff"],
  ["eight bits of padding after a whole byte", "f1e3 c2e5 f23a 6ba0 ab90 f4ff ff"],
  ["sixteen", "6402 ffff"],
  // `0` is 00000: three bits are left.
  ["padding of zeroes", "00"],
  ["padding with a zero before ones", "03"],
  ["padding with a zero behind ones", "06"],
  ["EOS", "3fff ffff"],
  ["EOS after a symbol", "07ff ffff ff"],
  ["EOS with symbols behind it", "ffff ffff 6402"],
  ["a code that is cut off", "ffff ff"],
];

describe("HPACK Huffman code", () => {
  it("codes the examples of RFC 7541", () => {
    for (const [text, coded] of EXAMPLES) {
      assert.deepEqual(encode(text), hex(coded), text);
      assert.equal(decode(hex(coded)), text);
    }
  });

  it("gets each byte back, alone and beside each other", () => {
    for (let a = 0; a < 256; a++) {
      const one = String.fromCharCode(a);
      assert.equal(decode(encode(one)), one);
      for (let b = 0; b < 256; b++) {
        const three = String.fromCharCode(a, b, a);
        assert.equal(decode(encode(three)), three);
      }
    }
  });

  it("gets all bytes back, and stays within its room", () => {
    const all = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
    assert.equal(decode(encode(all)), all);
    const zeroes = "0".repeat(1_000);
    assert.equal(encode(zeroes).length, 625);
    assert.equal(huffmanDecodedMax(625), 1_000);
    assert.equal(decode(encode(zeroes)), zeroes);
  });

  it("takes of a character beyond a byte what latin1 would", () => {
    assert.equal(decode(encode("\u0141")), "A");
  });

  for (const [why, coded] of REFUSED) {
    it(`refuses ${why}`, () => assert.equal(decode(hex(coded)), undefined));
  }
});
