import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Base64Decoder, Base64Encoder } from "#proxy/filter/base64_stream.ts";

/** What is read of pieces of `text` that are cut at `cuts`; undefined: it is no base64. */
function decode(text: string, ...cuts: readonly number[]): string | undefined {
  const decoder = new Base64Decoder();
  const bytes: Buffer[] = [];
  let from = 0;
  for (const to of [...cuts, text.length]) {
    const read = decoder.decode(Buffer.from(text.slice(from, to), "latin1"));
    if (read === undefined) return undefined;
    bytes.push(read);
    from = to;
  }
  return decoder.isWhole ? Buffer.concat(bytes).toString("latin1") : undefined;
}

describe("base64 in pieces", () => {
  it("reads what RFC 4648 §10 writes, wherever it is cut", () => {
    const vectors = {
      ...{ "": "", "Zg==": "f", "Zm8=": "fo", Zm9v: "foo", "Zm9vYg==": "foob" },
      ...{ "Zm9vYmE=": "fooba", Zm9vYmFy: "foobar" },
      // Each piece padded by itself.
      ...{ "Zg==Zm8=Zm9vZg==Zg==": "ffofooff", "+/+/AAAA////": "\xfb\xff\xbf\0\0\0\xff\xff\xff" },
    };
    for (const [text, bytes] of Object.entries(vectors)) {
      for (let a = 0; a <= text.length; a++) {
        for (let b = a; b <= text.length; b++) assert.equal(decode(text, a, b), bytes, text);
      }
    }
  });

  it("takes nothing else, wherever it is cut", () => {
    const bad = [
      ...[
        "Z",
        "Zg",
        "Zg=",
        "Zm9",
        "Zm9vZ",
        "=",
        "====",
        "Z===",
        "Zg=a",
        "Zg=A",
        "Zg===",
        "Zm8==",
        "Zm9v=",
      ],
      ...["Zm9v\n", "Zm9v\r\nZm9v", " Zm9v", "Zm 9v", "Zm-v", "Zm_v", "Zm9\xff", "Zm9\0", "Zm9v!"],
      // Bits that nobody reads (RFC 4648 §3.5).
      ...["Zh==", "Zm9=", "Zm9vZm9="],
    ];
    for (const text of bad) {
      for (let a = 0; a <= text.length; a++) {
        for (let b = a; b <= text.length; b++) assert.equal(decode(text, a, b), undefined, text);
      }
    }
  });

  it("hands out memory of its own", () => {
    const read = Buffer.from("Zm9v");
    const bytes = new Base64Decoder().decode(read)!;
    read.fill(0);
    assert.equal(bytes.toString(), "foo");
  });

  it("writes full groups at once and the rest when it is asked to", () => {
    const encoder = new Base64Encoder();
    const bytes = Buffer.from("abcdefgh");
    assert.equal(encoder.encode(bytes, 0, 2, false), "");
    assert.equal(encoder.encode(bytes, 2, 7, false), "YWJjZGVm");
    bytes.fill(0, 0, 7);
    assert.equal(encoder.encode(bytes, 7, 8, true), "Z2g=");
    assert.equal(encoder.encode(bytes, 8, 8, true), "");
    assert.equal(encoder.encode(Buffer.from("f"), 0, 1, true), "Zg==");
  });
});
