import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { blockRoom, HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { decodeBytes, encodePairs, hex, type Pairs } from "#test/kit/hpack.ts";

/** An encoder and the decoder at the other end, which must agree after every block. */
function ends() {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  const send = (pairs: Pairs, neverIndexed: readonly string[] = []) => {
    const bytes = Buffer.from(encodePairs(encoder, pairs, neverIndexed));
    const decoded = decodeBytes(bytes, decoder);
    assert.equal(decoded.verdict, "ok");
    assert.deepEqual(decoded.pairs, pairs);
    return { bytes, neverIndexed: decoded.neverIndexed };
  };
  return { encoder, decoder, send };
}

const HEAD: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "shop.example.org"],
  [":path", "/"],
  ["user-agent", "curl/8"],
  ["x-own", "value"],
];

describe("HPACK encoder", () => {
  it("writes a field that comes again as one byte", () => {
    const { send } = ends();
    send(HEAD);
    assert.equal(send(HEAD).bytes.length, HEAD.length);
  });

  it("writes the static table's fields as one byte at once", () => {
    const { send } = ends();
    assert.deepEqual(send([[":status", "304"]]).bytes, hex("8b"));
    assert.deepEqual(send([["accept-encoding", "gzip, deflate"]]).bytes, hex("90"));
  });

  it("uses the Huffman code for what it adds, where that is shorter", () => {
    const { send } = ends();
    assert.deepEqual(
      send([["server", "www.example.com"]]).bytes,
      hex("768cf1e3c2e5f23a6ba0ab90f4ff"),
    );
    assert.deepEqual(send([["server", "\u00ff\u00fe"]]).bytes, hex("7602fffe"));
  });

  it("adds what rarely comes again only when it comes again", () => {
    const { send } = ends();
    assert.deepEqual(send([[":path", "/a"]]).bytes, hex("04022f61"));
    assert.deepEqual(send([[":path", "/b"]]).bytes, hex("04022f62"));
    const added = send([[":path", "/a"]]).bytes;
    assert.equal(added[0], 0x44);
    assert.equal(send([[":path", "/a"]]).bytes.length, 1);
  });

  it("adds a changing field once for its name", () => {
    const { send } = ends();
    assert.equal(send([["x-request-id", "0001"]]).bytes[0], 0x40);
    assert.deepEqual(send([["x-request-id", "0002"]]).bytes, hex("0f2f0430303032"));
  });

  it("stops adding a field whose values never come again", () => {
    const { send } = ends();
    const forms = Array.from({ length: 12 }, (_, i) => send([["etcetera", `v${i}`]]).bytes[0]!);
    assert.ok(forms.slice(0, 9).every((form) => form >= 0x40));
    assert.ok(forms.slice(9).every((form) => form < 0x40));
  });

  it("never lets secrets be indexed, at all hops", () => {
    const { send } = ends();
    const secrets: Pairs = [
      ["authorization", "Bearer 0123456789abcdef0123456789abcdef"],
      ["proxy-authorization", "Basic eA=="],
      ["cookie", "pin=1234"],
      ["set-cookie", "pin=1234"],
    ];
    for (let i = 0; i < 3; i++) {
      const { bytes, neverIndexed } = send(secrets);
      assert.deepEqual(neverIndexed, [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
      ]);
      assert.ok(bytes.length > 60);
    }
    const long: Pairs = [["cookie", "session=0123456789abcdef"]];
    assert.equal(send(long).neverIndexed, undefined);
    assert.equal(send(long).bytes.length, 1);
  });

  it("keeps what the hop before has marked, even if a table has it", () => {
    const { send } = ends();
    send(HEAD);
    const marked = send(HEAD, ["x-own", "user-agent"]);
    assert.deepEqual(marked.neverIndexed, ["user-agent", "x-own"]);
    assert.deepEqual(send([[":method", "GET"]], [":method"]).neverIndexed, [":method"]);
    assert.equal(send(HEAD).bytes.length, HEAD.length);
  });

  it("does not push out everything for one large field", () => {
    const { send } = ends();
    send(HEAD);
    send([["x-large", "x".repeat(2_048)]]);
    assert.equal(send(HEAD).bytes.length, HEAD.length);
  });

  it("drops what its table has no room for, as the other end does", () => {
    const { send } = ends();
    for (let i = 0; i < 300; i++) {
      const n = i % 70;
      send([
        [`name-${n}`, "v".repeat(n)],
        ["server", `server-${n % 5}`],
        ["x-same", "same"],
      ]);
    }
  });

  it("writes nothing where there may be no room", () => {
    const encoder = new HpackEncoder();
    const room = blockRoom(1, 6);
    const buffer = Buffer.alloc(room);
    assert.equal(encoder.begin(buffer, 1, room), false);
    assert.deepEqual(buffer, Buffer.alloc(room));
    assert.equal(encoder.begin(buffer, 0, room), true);
    encoder.put("a", "1".repeat(5), false);
    assert.ok(encoder.end() <= room);
  });

  it("stays within its room with the longest representations", () => {
    const { encoder, send } = ends();
    for (let i = 0; i < 120; i++) send([[`n${i}`, ""]]);
    encoder.tableSizeChanged(0);
    encoder.tableSizeChanged(4_095);
    // 0xff is 26 bits of Huffman code.
    send([
      ["n0", "\u00ff".repeat(20_000)],
      ["long-name".repeat(300), ""],
      [`n${119}`, "x"],
    ]);
  });
});

describe("HPACK encoder, table sizes", () => {
  it("says a smaller size first thing, and drops for it", () => {
    const { encoder, decoder, send } = ends();
    send(HEAD);
    encoder.tableSizeChanged(64);
    decoder.tableSizeChanged(64);
    const first = send(HEAD).bytes;
    assert.deepEqual(first.subarray(0, 2), hex("3f21"));
    assert.equal(send([["x-own", "value"]]).bytes.length, 1);
    assert.ok(send([["user-agent", "curl/8"]]).bytes.length > 1);
  });

  it("adds nothing to a table of no bytes", () => {
    const { encoder, decoder, send } = ends();
    send(HEAD);
    encoder.tableSizeChanged(0);
    decoder.tableSizeChanged(0);
    assert.equal(send(HEAD).bytes[0], 0x20);
    const { bytes } = send([["x-own", "value"]]);
    assert.deepEqual(bytes, hex("0005 782d 6f77 6e05 7661 6c75 65"));
    encoder.tableSizeChanged(4_096);
    decoder.tableSizeChanged(4_096);
    send(HEAD);
    assert.equal(send(HEAD).bytes.length, HEAD.length);
  });

  it("tells the smallest of several sizes and the last", () => {
    const { encoder, decoder, send } = ends();
    send(HEAD);
    for (const size of [200, 0, 100]) {
      encoder.tableSizeChanged(size);
      decoder.tableSizeChanged(size);
    }
    assert.deepEqual(send([[":method", "GET"]]).bytes, hex("20 3f45 82"));
    assert.deepEqual(send([[":method", "GET"]]).bytes, hex("82"));
  });

  it("never uses more than 4,096 bytes, and says nothing if nothing changes", () => {
    const { encoder, decoder, send } = ends();
    encoder.tableSizeChanged(65_536);
    decoder.tableSizeChanged(65_536);
    assert.deepEqual(send([[":method", "GET"]]).bytes, hex("82"));
    encoder.tableSizeChanged(4_096);
    decoder.tableSizeChanged(4_096);
    assert.deepEqual(send([[":method", "GET"]]).bytes, hex("82"));
  });

  it("still tells a size that was changed and changed back", () => {
    const { encoder, decoder, send } = ends();
    send(HEAD);
    encoder.tableSizeChanged(0);
    decoder.tableSizeChanged(0);
    encoder.tableSizeChanged(4_096);
    decoder.tableSizeChanged(4_096);
    assert.deepEqual(send([[":method", "GET"]]).bytes, hex("20 3fe11f 82"));
    assert.ok(send([["x-own", "value"]]).bytes.length > 1);
  });
});
