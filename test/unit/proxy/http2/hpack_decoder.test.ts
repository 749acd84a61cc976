import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { STATIC_TABLE } from "#proxy/http2/hpack_table.ts";
import { decodeBytes, hex, literal, type Pairs } from "#test/kit/hpack.ts";

const FIRST: Pairs = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "www.example.com"],
];
const SECOND: Pairs = [...FIRST, ["cache-control", "no-cache"]];
const THIRD: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/index.html"],
  [":authority", "www.example.com"],
  ["custom-key", "custom-value"],
];
const MOVED: Pairs = [
  [":status", "302"],
  ["cache-control", "private"],
  ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
  ["location", "https://www.example.com"],
];
const MOVED_AGAIN: Pairs = [[":status", "307"], ...MOVED.slice(1)];
const COOKIE: Pairs = [
  [":status", "200"],
  ["cache-control", "private"],
  ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
  ["location", "https://www.example.com"],
  ["content-encoding", "gzip"],
  ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
];

/** RFC 7541 Appendix C.3 to C.6: blocks of one connection each. */
const EXAMPLES: ReadonlyArray<{
  readonly section: string;
  readonly tableBytes: number;
  readonly blocks: ReadonlyArray<readonly [coded: string, pairs: Pairs]>;
}> = [
  {
    section: "C.3",
    tableBytes: 4_096,
    blocks: [
      ["8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST],
      ["8286 84be 5808 6e6f 2d63 6163 6865", SECOND],
      ["8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD],
    ],
  },
  {
    section: "C.4",
    tableBytes: 4_096,
    blocks: [
      ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST],
      ["8286 84be 5886 a8eb 1064 9cbf", SECOND],
      ["8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD],
    ],
  },
  {
    section: "C.5",
    tableBytes: 256,
    blocks: [
      [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        MOVED,
      ],
      ["4803 3330 37c1 c0bf", MOVED_AGAIN],
      [
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        COOKIE,
      ],
    ],
  },
  {
    section: "C.6",
    tableBytes: 256,
    blocks: [
      [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        MOVED,
      ],
      ["4883 640e ffc1 c0bf", MOVED_AGAIN],
      [
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        COOKIE,
      ],
    ],
  },
];

/** Each ends the connection with COMPRESSION_ERROR. */
const REFUSED: ReadonlyArray<readonly [why: string, coded: string]> = [
  ["index 0", "80"],
  ["an index beyond the tables", "be"],
  ["a far index beyond the tables", "ff 8001"],
  ["a name's index beyond the tables", "7e 01 61"],
  ["a name's index beyond them, not added", "0f 2f 01 61"],
  ["an index that is cut off", "ff"],
  ["an index that goes on and is cut off", "ff 80"],
  ["an index without an end", "ff 8080 8080 8080 8080 8080 8080 80"],
  ["an index that overflows", "ff ffff ffff ff0f"],
  ["zeroes that make an index longer than it is", "ff 8080 8080 8000"],
  ["no name", "40"],
  ["a name that is cut off", "40 0361 62"],
  ["no value", "40 0161"],
  ["a value that is cut off", "40 0161 0262"],
  ["a length that is cut off", "40 0161 7f"],
  ["a length that overflows", "40 0161 7fff ffff ff0f 61"],
  ["a Huffman string with eight bits of padding", "40 0161 83 6402 ff"],
  ["a Huffman name that is none", "40 81 ff 0161"],
  ["EOS in a value", "40 0161 843f ffff ff"],
  ["a size update beyond what we allow", "3f e21f"],
  ["a size update that overflows", "3f ffff ffff 7f"],
  ["a size update behind a field", "82 20"],
  ["a size update between fields", "82 3f e11f 84"],
  ["a size update between fields that could be a name's index", "82 21 0161"],
];

describe("HPACK decoder", () => {
  for (const { section, tableBytes, blocks } of EXAMPLES) {
    it(`reads the examples of RFC 7541 ${section}`, () => {
      const decoder = new HpackDecoder(tableBytes);
      for (const [coded, pairs] of blocks) {
        const decoded = decodeBytes(hex(coded), decoder);
        assert.equal(decoded.verdict, "ok");
        assert.deepEqual(decoded.pairs, pairs);
      }
    });
  }

  it("reads the literals of RFC 7541 C.2", () => {
    const added = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    assert.deepEqual(decodeBytes(hex(added)).pairs, [["custom-key", "custom-header"]]);
    const notAdded = decodeBytes(hex("040c 2f73 616d 706c 652f 7061 7468"));
    assert.deepEqual(notAdded.pairs, [[":path", "/sample/path"]]);
    assert.equal(notAdded.neverIndexed, undefined);
    const never = decodeBytes(hex("1008 7061 7373 776f 7264 0673 6563 7265 74"));
    assert.deepEqual(never.pairs, [["password", "secret"]]);
    assert.deepEqual(never.neverIndexed, ["password"]);
    assert.deepEqual(decodeBytes(hex("82")).pairs, [[":method", "GET"]]);
  });

  it("adds nothing that is not to be added", () => {
    const decoder = new HpackDecoder();
    assert.equal(decodeBytes(hex("040c 2f73 616d 706c 652f 7061 7468"), decoder).verdict, "ok");
    assert.equal(decodeBytes(hex("1001 6101 62"), decoder).verdict, "ok");
    assert.equal(decodeBytes(hex("be"), decoder).verdict, "compression_error");
  });

  it("knows every name of the static table", () => {
    assert.equal(STATIC_TABLE.length, 61);
    for (let index = 1; index <= 61; index++) {
      const { name, value } = STATIC_TABLE[index - 1]!;
      assert.deepEqual(decodeBytes(Buffer.of(0x80 | index)).pairs, [[name, value]]);
    }
  });

  for (const [why, coded] of REFUSED) {
    it(`refuses ${why}`, () => {
      assert.equal(decodeBytes(hex(coded)).verdict, "compression_error");
    });
  }

  it("refuses each block that is cut off, unless a field ends there", () => {
    for (const { tableBytes, blocks } of EXAMPLES) {
      const bytes = hex(blocks[0]![0]);
      let whole = -1;
      for (let end = 0; end <= bytes.length; end++) {
        const cut = decodeBytes(bytes.subarray(0, end), new HpackDecoder(tableBytes));
        if (cut.verdict !== "ok") continue;
        assert.equal(cut.pairs.length, whole + 1);
        assert.deepEqual(cut.pairs, blocks[0]![1].slice(0, cut.pairs.length));
        whole = cut.pairs.length;
      }
      assert.equal(whole, blocks[0]![1].length);
    }
  });

  it("gives out the same strings for what is in a table", () => {
    const decoder = new HpackDecoder();
    const first = decodeBytes(hex("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"), decoder);
    const second = decodeBytes(hex("be"), decoder);
    assert.equal(first.block.fields[0], second.block.fields[0]);
  });

  it("drops the oldest entries, and all for one that is too large", () => {
    const decoder = new HpackDecoder(100);
    const add = (text: string): string => {
      const coded = Buffer.concat([Buffer.of(0x40), literal("name", text).subarray(1)]);
      return decodeBytes(coded, decoder).verdict;
    };
    assert.equal(add("one"), "ok");
    assert.equal(add("two"), "ok");
    assert.deepEqual(decodeBytes(hex("be bf"), decoder).pairs, [
      ["name", "two"],
      ["name", "one"],
    ]);
    assert.equal(add("three"), "ok");
    assert.deepEqual(decodeBytes(hex("be bf"), decoder).pairs, [
      ["name", "three"],
      ["name", "two"],
    ]);
    assert.equal(add("x".repeat(65)), "ok");
    assert.equal(decodeBytes(hex("be"), decoder).verdict, "compression_error");
  });

  it("takes the name of an entry that goes to make room", () => {
    const decoder = new HpackDecoder(60);
    decodeBytes(Buffer.concat([Buffer.of(0x40), literal("name", "one").subarray(1)]), decoder);
    const named = decodeBytes(hex("7e 05 7468 7265 65"), decoder);
    assert.deepEqual(named.pairs, [["name", "three"]]);
    assert.deepEqual(decodeBytes(hex("be"), decoder).pairs, [["name", "three"]]);
  });
});

describe("HPACK decoder, table sizes", () => {
  const withEntry = (tableBytes = 4_096): HpackDecoder => {
    const decoder = new HpackDecoder(tableBytes);
    decodeBytes(Buffer.concat([Buffer.of(0x40), literal("a", "b").subarray(1)]), decoder);
    return decoder;
  };

  it("forgets what does not fit any more", () => {
    const decoder = withEntry();
    assert.equal(decodeBytes(hex("be"), decoder).verdict, "ok");
    assert.deepEqual(decodeBytes(hex("20 82"), decoder).pairs, [[":method", "GET"]]);
    assert.equal(decodeBytes(hex("be"), decoder).verdict, "compression_error");
  });

  it("takes several size updates at the begin of a block, and one alone", () => {
    assert.deepEqual(decodeBytes(hex("20 3fe11f 82"), withEntry()).pairs, [[":method", "GET"]]);
    assert.equal(decodeBytes(hex("3fe11f"), withEntry()).verdict, "ok");
    assert.equal(decodeBytes(hex("20 3fe11f be"), withEntry()).verdict, "compression_error");
  });

  it("insists on the size update that a smaller setting needs", () => {
    const decoder = withEntry();
    decoder.tableSizeChanged(100);
    assert.equal(decodeBytes(hex("82"), decoder).verdict, "compression_error");
    const told = withEntry();
    told.tableSizeChanged(100);
    assert.equal(decodeBytes(hex("3f45 be"), told).verdict, "ok");
    assert.equal(decodeBytes(hex("be"), told).verdict, "ok");
    const tooLarge = withEntry();
    tooLarge.tableSizeChanged(100);
    assert.equal(decodeBytes(hex("3f46 82"), tooLarge).verdict, "compression_error");
  });

  it("needs none for a larger setting, nor where the table was as small before", () => {
    const larger = withEntry();
    larger.tableSizeChanged(8_192);
    assert.equal(decodeBytes(hex("be"), larger).verdict, "ok");
    assert.equal(decodeBytes(hex("3fe13f be"), larger).verdict, "ok");
    const small = withEntry();
    assert.equal(decodeBytes(hex("3f45"), small).verdict, "ok");
    small.tableSizeChanged(100);
    assert.equal(decodeBytes(hex("be"), small).verdict, "ok");
  });

  it("insists on the smallest of several settings", () => {
    const change = (coded: string): string => {
      const decoder = withEntry();
      decoder.tableSizeChanged(0);
      decoder.tableSizeChanged(4_096);
      return decodeBytes(hex(coded), decoder).verdict;
    };
    assert.equal(change("82"), "compression_error");
    assert.equal(change("3fe11f 82"), "compression_error");
    assert.equal(change("20 3fe11f 82"), "ok");
    assert.equal(change("20 82"), "ok");
    assert.equal(change("20 3fe11f be"), "compression_error");
  });
});

describe("HPACK decoder, bounds", () => {
  it("counts fields, and their bytes as RFC 9113 §6.5.2 does", () => {
    const block = hex("82 84");
    const verdict = (headBytesMax: number, fieldsMax: number): string =>
      decodeBytes(block, new HpackDecoder(), { headBytesMax, fieldsMax }).verdict;
    // :method GET is 42, :path / is 38.
    assert.equal(verdict(80, 2), "ok");
    assert.equal(verdict(79, 2), "too_large");
    assert.equal(verdict(80, 1), "too_large");
  });

  it("keeps its table right behind a bound", () => {
    const decoder = new HpackDecoder();
    const added = Buffer.concat([Buffer.of(0x40), literal("late", "value").subarray(1)]);
    const block = Buffer.concat([hex("82 84"), literal("skipped", "x"), added]);
    const limits = { headBytesMax: 65_536, fieldsMax: 1 };
    const { verdict, pairs } = decodeBytes(block, decoder, limits);
    assert.equal(verdict, "too_large");
    assert.deepEqual(pairs, [[":method", "GET"]]);
    assert.deepEqual(decodeBytes(hex("be"), decoder).pairs, [["late", "value"]]);
  });

  it("still sees what is wrong behind a bound", () => {
    const limits = { headBytesMax: 50, fieldsMax: 1 };
    for (const [why, coded] of REFUSED) {
      if (/^a size update (?:that|beyond)/.test(why)) continue;
      const block = Buffer.concat([hex("82 84"), hex(coded)]);
      const { verdict } = decodeBytes(block, new HpackDecoder(), limits);
      assert.equal(verdict, "compression_error", why);
    }
    for (const coded of ["00", "0001", "000161", "0001 6102 62", "0f", "0f2f 0161", "007f"]) {
      const block = Buffer.concat([hex("82 84"), hex(coded)]);
      const { verdict } = decodeBytes(block, new HpackDecoder(), limits);
      assert.equal(verdict, "compression_error", coded);
    }
  });

  it("does not multiply what one entry of the table says", () => {
    const decoder = new HpackDecoder();
    const large = Buffer.concat([hex("4001 61 7fa11e"), Buffer.alloc(4_000, 0x62)]);
    const first = decodeBytes(Buffer.concat([large, Buffer.alloc(16_000, 0xbe)]), decoder);
    assert.equal(first.verdict, "too_large");
    assert.equal(first.pairs.length, 16);
  });
});
