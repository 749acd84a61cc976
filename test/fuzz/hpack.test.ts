import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { Flaw, Role } from "#proxy/http2/field_roles.ts";
import { ErrorCode } from "#proxy/http2/frames.ts";
import { HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import type { HeaderField } from "#proxy/http2/hpack_table.ts";
import { IS_WHOLE, replay, seeds } from "#test/fuzz/budget.ts";
import { NodeDecoder, NodeEncoder } from "#test/fuzz/node_http2.ts";
import { decodeBytes, encodePairs, type Pairs } from "#test/kit/hpack.ts";

/** Connections tried by `make test`, and blocks on each. */
const CASES = 60;
const BLOCKS = 16;
const BROKEN_CASES = 400;
/** Wider than a block here can be. */
const LIMITS = { headBytesMax: 1 << 24, fieldsMax: 100_000 };
const FILE = "hpack.test.ts";

const TABLE_BYTES = [0, 31, 64, 100, 200, 1_000, 4_096, 10_000, 65_536];
const NAMES = [
  "accept",
  "user-agent",
  "x-request-id",
  "etag",
  "authorization",
  "grpc-timeout",
  "x-a",
  "x-b",
  "x-rather-long-name-that-few-would-use-but-some-do",
];

const oneOf = <T>(rng: Rng, choices: readonly T[]): T => choices[rng.below(choices.length)]!;

/** Printable, seldom long; Huffman makes some of them longer. */
function value(rng: Rng): string {
  if (rng.below(3) > 0) return `v${rng.below(6)}`;
  const length = rng.below(10) === 0 ? rng.below(3_000) : rng.below(60);
  const from = oneOf(rng, [0x21, 0x30, 0x61, 0xa1]);
  const characters = Array.from({ length }, () => from + rng.below(26));
  return String.fromCharCode(...characters);
}

function requestPairs(rng: Rng): Array<[string, string]> {
  const pairs: Array<[string, string]> = [
    [":method", oneOf(rng, ["GET", "POST", "PATCH"])],
    [":scheme", oneOf(rng, ["http", "https"])],
    [":authority", oneOf(rng, ["a.example", "b.example:8080"])],
    [":path", oneOf(rng, ["/", "/index.html", "/a", `/${rng.below(1_000)}`])],
  ];
  for (let left = rng.below(12); left > 0; left--) {
    const name = rng.below(8) === 0 ? `x-${rng.below(40)}` : oneOf(rng, NAMES);
    pairs.push([name, value(rng)]);
  }
  return pairs;
}

/** Our encoder against node's decoder. */
async function encodeForNode(seed: number): Promise<void> {
  const rng = seededRng(seed);
  const node = new NodeDecoder(oneOf(rng, TABLE_BYTES));
  const encoder = new HpackEncoder();
  const obey = (bytes: number | undefined): void => {
    if (bytes !== undefined) encoder.tableSizeChanged(bytes);
  };
  try {
    obey(await node.settings());
    for (let i = 0; i < BLOCKS; i++) {
      for (let changes = rng.below(8) - 5; changes > 0; changes--) {
        obey(await node.change(oneOf(rng, TABLE_BYTES)));
      }
      const pairs = requestPairs(rng);
      const secret = pairs.filter(() => rng.below(6) === 0).map(([name]) => name);
      const block = encodePairs(encoder, pairs, secret);
      assert.deepEqual(await node.decode(block), pairs.flat());
    }
  } finally {
    node.close();
  }
}

/** Node's encoder against our decoder. */
async function decodeFromNode(seed: number): Promise<void> {
  const rng = seededRng(seed);
  const first = oneOf(rng, TABLE_BYTES);
  const node = new NodeEncoder(first);
  const decoder = new HpackDecoder();
  try {
    await node.acknowledged();
    decoder.tableSizeChanged(first);
    for (let i = 0; i < BLOCKS; i++) {
      const changed = Array.from({ length: Math.max(0, rng.below(8) - 5) }, () =>
        oneOf(rng, TABLE_BYTES),
      );
      for (const bytes of changed) node.change(bytes);
      for (const bytes of changed) {
        await node.acknowledged();
        decoder.tableSizeChanged(bytes);
      }
      const pairs = requestPairs(rng);
      const fields: Record<string, string | string[]> = {};
      for (const [name, text] of pairs) {
        const before = fields[name];
        // Node refuses some fields twice, and drops blanks.
        if (before === undefined) fields[name] = text;
      }
      const secret = Object.keys(fields).filter(
        (name) => name.startsWith("x-") && rng.below(4) === 0,
      );
      const block = await node.encode(fields, secret);
      const decoded = decodeBytes(block, decoder, LIMITS);
      assert.equal(decoded.verdict, "ok");
      const byName = Object.fromEntries(decoded.pairs);
      assert.deepEqual(byName, fields);
      assert.equal(decoded.pairs.length, Object.keys(fields).length);
      for (const name of secret) assert.ok(decoded.neverIndexed?.includes(name), name);
    }
  } finally {
    node.close();
  }
}

/** What became of the broken blocks. */
interface Outcomes {
  refused: number;
  read: number;
}

/** A few bytes of a block changed: both refuse it, or both read the same. */
async function breakBlock(seed: number, outcomes: Outcomes): Promise<void> {
  const rng = seededRng(seed);
  const node = new NodeDecoder(4_096);
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  try {
    await node.settings();
    for (let blocks = rng.below(2); blocks >= 0; blocks--) {
      const pairs: Pairs = requestPairs(rng);
      const block = encodePairs(encoder, pairs);
      for (let changes = blocks === 0 ? 1 + rng.below(3) : 0; changes > 0; changes--) {
        block[rng.below(block.length)] = oneOf(rng, [
          0,
          0x1f,
          0x20,
          0x3f,
          0x7f,
          0x80,
          0xff,
          rng.below(256),
        ]);
      }
      const cut = blocks === 0 && rng.below(4) === 0 ? rng.below(block.length) : block.length;
      const sent = block.subarray(0, cut);
      const ours = decodeBytes(sent, decoder, LIMITS);
      const theirs = await node.decode(sent);
      if (theirs === ErrorCode.COMPRESSION_ERROR) {
        assert.equal(ours.verdict, "compression_error");
        outcomes.refused++;
        return;
      }
      assert.equal(ours.verdict, "ok", `${JSON.stringify(theirs)}`);
      outcomes.read++;
      if (typeof theirs === "number") return;
      // It leaves out what no field may be, where that is not a pseudo-field.
      const isField = ({ role, flaws }: HeaderField) =>
        role !== Role.MALFORMED && (flaws & (Flaw.CONTROL | Flaw.EDGE)) === 0;
      const left = ours.block.fields.slice(0, ours.block.count).filter(isField);
      assert.deepEqual(
        left.flatMap((field) => [field.name, field.value]),
        theirs,
      );
    }
  } finally {
    node.close();
  }
}

async function tryAll(cases: number, act: (seed: number) => Promise<void>): Promise<void> {
  for (const seed of seeds(cases)) {
    try {
      await act(seed);
    } catch (error) {
      throw new Error(replay(FILE, seed, String(error)), { cause: error });
    }
  }
}

describe("HPACK beside node's", () => {
  it("writes what node reads", () => tryAll(CASES, encodeForNode));
  it("reads what node writes", () => tryAll(CASES, decodeFromNode));
  it("refuses what node refuses", async () => {
    const outcomes: Outcomes = { refused: 0, read: 0 };
    await tryAll(BROKEN_CASES, (seed) => breakBlock(seed, outcomes));
    const isFair = outcomes.refused > BROKEN_CASES / 5 && outcomes.read > BROKEN_CASES / 5;
    assert.ok(isFair || !IS_WHOLE, JSON.stringify(outcomes));
  });
});
