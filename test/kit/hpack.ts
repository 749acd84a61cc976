import assert from "node:assert/strict";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import {
  type DecodeVerdict,
  HeaderBlock,
  type HeaderListLimits,
  HpackDecoder,
} from "#proxy/http2/hpack_decoder.ts";
import { blockRoom, type HpackEncoder } from "#proxy/http2/hpack_encoder.ts";

/** Flat list of names and values, for what is written by hand. */
export type Pairs = ReadonlyArray<readonly [name: string, value: string]>;

/** What a block says. */
export interface Decoded {
  readonly verdict: DecodeVerdict;
  readonly pairs: string[][];
  readonly neverIndexed: readonly string[] | undefined;
  readonly block: HeaderBlock;
}

/** Decodes bytes, in a larger buffer so that looking beyond them would be seen. */
export function decodeBytes(
  bytes: Uint8Array,
  decoder: HpackDecoder = new HpackDecoder(),
  limits: HeaderListLimits = CONNECTION_LIMITS,
): Decoded {
  const buffer = Buffer.concat([Buffer.alloc(3, 0x82), bytes, Buffer.alloc(3, 0x82)]);
  const block = new HeaderBlock();
  const verdict = decoder.decode(buffer, 3, 3 + bytes.length, limits, block);
  const pairs = block.fields.slice(0, block.count).map(({ name, value }) => [name, value]);
  return { verdict, pairs, neverIndexed: block.neverIndexed, block };
}

/** Hexadecimal digits with blanks between, as RFCs print bytes. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

/** A literal without indexing, its strings as they are. */
export function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0), plain(name), plain(value)]);
}

function plain(text: string): Buffer {
  assert.ok(text.length < 127);
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1")]);
}

/** A block of such literals. */
export function blockOf(pairs: Pairs): HeaderBlock {
  const { verdict, block } = decodeBytes(
    Buffer.concat(pairs.map(([name, value]) => literal(name, value))),
  );
  assert.equal(verdict, "ok");
  return block;
}

/** A block that `encoder` makes of fields. @param neverIndexed names of those that nobody may index. */
export function encodePairs(
  encoder: HpackEncoder,
  pairs: Pairs,
  neverIndexed: readonly string[] = [],
): Buffer {
  const characters = pairs.flat().reduce((sum, text) => sum + text.length, 0);
  const room = blockRoom(pairs.length, characters);
  const buffer = Buffer.alloc(room + 1, 0xee);
  assert.ok(encoder.begin(buffer, 1, room));
  for (const [name, value] of pairs) encoder.put(name, value, neverIndexed.includes(name));
  const end = encoder.end();
  assert.equal(buffer[0], 0xee, "written before the block");
  return buffer.subarray(1, end);
}
