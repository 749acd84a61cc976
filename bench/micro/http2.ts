import { line, nanos } from "#bench/micro/nanos.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { CONNECTION_LIMITS } from "#proxy/exchange/limits.ts";
import { encodeAnswer, encodeRequest } from "#proxy/http2/field_writer.ts";
import { isRefused, readAnswer, readRequest } from "#proxy/http2/fields.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_SIZE_DEFAULT,
  frameFlags,
  frameLength,
  frameStream,
  frameType,
  judgeHeader,
  judgePayload,
  writeDataHeader,
  writeWindowUpdate,
} from "#proxy/http2/frames.ts";
import { HeaderBlock, HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { huffmanDecode, huffmanDecodedMax, huffmanEncode } from "#proxy/http2/hpack_huffman.ts";

/** Twelve fields with the pseudo-fields, as a browser sends them. */
const HEAD: RequestHead = {
  method: "GET",
  target: "/menu/today?table=4",
  authority: "shop.example.org",
  fields: [
    ...["user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"],
    ...["accept", "text/html,application/xhtml+xml"],
    ...["accept-encoding", "gzip, deflate, br"],
    ...["accept-language", "en-GB,en;q=0.9"],
    ...["cookie", "session=0123456789abcdef0123456789abcdef"],
    ...["referer", "https://shop.example.org/menu"],
    ...["cache-control", "no-cache"],
  ],
  body: 0,
  upgrade: undefined,
  takesTrailers: true,
};
/** Heads that differ in path and request id. */
const MANY = 256;

function varied(i: number): RequestHead {
  const id = (i * 0x9e3779b1).toString(16).padStart(16, "0").repeat(2);
  return {
    ...HEAD,
    target: `/menu/today?table=${i}`,
    fields: [...HEAD.fields.slice(2), "x-request-id", id],
  };
}

/** HPACK and frames, from bytes to heads and back. */
export function http2Lines(): string[] {
  const buffer = Buffer.alloc(65_536);
  const block = new HeaderBlock();
  const decode = (decoder: HpackDecoder, from: number, to: number): RequestHead => {
    decoder.decode(buffer, from, to, CONNECTION_LIMITS, block);
    const head = readRequest(block, true, CONNECTION_LIMITS);
    if (isRefused(head)) throw new Error(head.detail);
    return head;
  };

  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  let repeated = 0;
  for (let i = 0; i < 4; i++) {
    repeated = encodeRequest(encoder, HEAD, "https", undefined, buffer, 0);
    decode(decoder, 0, repeated);
  }
  const readSame = nanos(() => decode(decoder, 0, repeated));
  const writeSame = nanos(() => encodeRequest(encoder, HEAD, "https", undefined, buffer, 0));

  const heads = Array.from({ length: MANY }, (_, i) => varied(i));
  const ends: number[] = [];
  let at = 0;
  for (const head of heads) {
    const end = encodeRequest(encoder, head, "https", undefined, buffer, at);
    decode(decoder, at, end);
    ends.push(end);
    at = end;
  }
  // The first few had yet to fill the tables.
  const readVaried = nanos((i) => {
    const n = 32 + (i % (MANY - 32));
    decode(decoder, ends[n - 1]!, ends[n]!);
  });
  const writeVaried = nanos((i) =>
    encodeRequest(encoder, heads[i & (MANY - 1)]!, "https", undefined, buffer, 0),
  );
  return [
    line("HPACK: read 12 fields that come again", readSame, `${repeated} bytes`),
    line("… another path and request id", readVaried, `${ends[99]! - ends[98]!} bytes`),
    line("write 12 fields that come again", writeSame),
    line("… another path and request id", writeVaried),
    ...answerLines(buffer, block),
    ...huffmanLines(),
    line("one of 64 frames, read and judged", frames(buffer)),
  ];
}

function answerLines(buffer: Buffer, block: HeaderBlock): string[] {
  const head = {
    status: 200,
    reason: "",
    fields: ["content-type", "text/plain", "server", "origin", "vary", "accept-encoding"],
    body: 12,
    upgrade: undefined,
  };
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  let end = 0;
  for (let i = 0; i < 4; i++) {
    end = encodeAnswer(encoder, head, undefined, buffer, 0);
    decoder.decode(buffer, 0, end, CONNECTION_LIMITS, block);
  }
  const read = nanos(() => {
    decoder.decode(buffer, 0, end, CONNECTION_LIMITS, block);
    readAnswer(block, false, "GET", undefined);
  });
  const write = nanos(() => encodeAnswer(encoder, head, undefined, buffer, 0));
  return [line("read an answer's 5 fields", read), line("write them", write)];
}

function huffmanLines(): string[] {
  const text = "/menu/today?table=4&customer=0123456789abcdef";
  const coded = Buffer.alloc(64);
  const plain = Buffer.alloc(huffmanDecodedMax(64) + 1);
  const end = huffmanEncode(text, coded, 0);
  const read = nanos(() => huffmanDecode(coded, 0, end, plain));
  const write = nanos(() => huffmanEncode(text, coded, 0));
  return [line(`Huffman: read ${text.length} characters`, read), line("write them", write)];
}

/** ns per frame of a read that holds small DATA and WINDOW_UPDATE frames. */
function frames(buffer: Buffer): number {
  let end = 0;
  for (let i = 0; i < 32; i++) {
    end = writeDataHeader(buffer, end, 100, 2 * i + 1, false) + 100;
    end = writeWindowUpdate(buffer, end, 2 * i + 1, 100);
  }
  let wrong = 0;
  const each = nanos(() => {
    for (let at = 0, length = 0; at < end; at += FRAME_HEADER_BYTES + length) {
      length = frameLength(buffer, at);
      const type = frameType(buffer, at);
      const flags = frameFlags(buffer, at);
      wrong |= judgeHeader(length, type, flags, frameStream(buffer, at), FRAME_SIZE_DEFAULT, 0);
      wrong |= judgePayload(buffer, at, length, type, flags, false);
    }
  });
  if (wrong !== 0) throw new Error("frames");
  return each / 64;
}
