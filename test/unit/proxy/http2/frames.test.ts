import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  ErrorCode,
  errorName,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  frameFlags,
  frameLength,
  frameStream,
  frameType,
  judgedBytes,
  judgeHeader,
  judgePayload,
  PREFACE,
  paddingBytes,
  promisedBytes,
  Setting,
  uint31,
  writeDataHeader,
  writeFrameHeader,
  writeGoaway,
  writeHeaders,
  writePing,
  writeRstStream,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from "#proxy/http2/frames.ts";
import { hex } from "#test/kit/hpack.ts";

const { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS } = FrameType;
const { PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION } = FrameType;
const PROTOCOL = ErrorCode.PROTOCOL_ERROR;
const SIZE = ErrorCode.FRAME_SIZE_ERROR;
const FLOW = ErrorCode.FLOW_CONTROL_ERROR;
const MAX = 16_384;

/** By the header: type, flags, stream, length, what of it. Above 0 the connection ends, below 0 the stream. */
const HEADER_RULES: ReadonlyArray<
  readonly [why: string, type: number, flags: number, stream: number, length: number, is: number]
> = [
  ["DATA", DATA, 0, 1, 5, 0],
  ["DATA without a byte", DATA, Flag.END_STREAM, 1, 0, 0],
  ["DATA of no stream", DATA, 0, 0, 5, PROTOCOL],
  ["DATA as large as it may be", DATA, 0, 1, MAX, 0],
  ["DATA beyond", DATA, 0, 1, MAX + 1, SIZE],
  ["padded DATA without the length of padding", DATA, Flag.PADDED, 1, 0, SIZE],
  ["HEADERS", HEADERS, Flag.END_HEADERS, 1, 5, 0],
  ["HEADERS without a byte", HEADERS, Flag.END_HEADERS, 1, 0, 0],
  ["HEADERS of no stream", HEADERS, Flag.END_HEADERS, 0, 5, PROTOCOL],
  ["HEADERS beyond the size", HEADERS, 0, 1, MAX + 1, SIZE],
  ["padded HEADERS without the length", HEADERS, Flag.PADDED, 1, 0, SIZE],
  ["HEADERS too short for their priority", HEADERS, Flag.PRIORITY, 1, 4, SIZE],
  ["HEADERS with priority", HEADERS, Flag.PRIORITY, 1, 5, 0],
  ["… and padding", HEADERS, Flag.PRIORITY | Flag.PADDED, 1, 5, SIZE],
  ["PRIORITY", PRIORITY, 0, 1, 5, 0],
  ["PRIORITY too short", PRIORITY, 0, 1, 4, -SIZE],
  ["PRIORITY too long", PRIORITY, 0, 1, 6, -SIZE],
  ["PRIORITY of no stream", PRIORITY, 0, 0, 5, PROTOCOL],
  ["RST_STREAM", RST_STREAM, 0, 1, 4, 0],
  ["RST_STREAM too short", RST_STREAM, 0, 1, 3, SIZE],
  ["RST_STREAM too long", RST_STREAM, 0, 1, 5, SIZE],
  ["RST_STREAM of no stream", RST_STREAM, 0, 0, 4, PROTOCOL],
  ["SETTINGS", SETTINGS, 0, 0, 12, 0],
  ["SETTINGS without any", SETTINGS, 0, 0, 0, 0],
  ["SETTINGS of a stream", SETTINGS, 0, 1, 6, PROTOCOL],
  ["SETTINGS that end in the middle", SETTINGS, 0, 0, 3, SIZE],
  ["an acknowledgement", SETTINGS, Flag.ACK, 0, 0, 0],
  ["an acknowledgement with settings", SETTINGS, Flag.ACK, 0, 6, SIZE],
  ["SETTINGS beyond the size", SETTINGS, 0, 0, 16_386, SIZE],
  ["PUSH_PROMISE", PUSH_PROMISE, Flag.END_HEADERS, 1, 8, PROTOCOL],
  ["PING", PING, 0, 0, 8, 0],
  ["PING too short", PING, 0, 0, 7, SIZE],
  ["PING too long", PING, Flag.ACK, 0, 9, SIZE],
  ["PING of a stream", PING, 0, 1, 8, PROTOCOL],
  ["GOAWAY", GOAWAY, 0, 0, 8, 0],
  ["GOAWAY that explains", GOAWAY, 0, 0, 30, 0],
  ["GOAWAY too short", GOAWAY, 0, 0, 7, SIZE],
  ["GOAWAY of a stream", GOAWAY, 0, 1, 8, PROTOCOL],
  ["WINDOW_UPDATE", WINDOW_UPDATE, 0, 0, 4, 0],
  ["WINDOW_UPDATE of a stream", WINDOW_UPDATE, 0, 1, 4, 0],
  ["WINDOW_UPDATE too short", WINDOW_UPDATE, 0, 1, 3, SIZE],
  ["WINDOW_UPDATE too long", WINDOW_UPDATE, 0, 0, 5, SIZE],
  ["CONTINUATION of nothing", CONTINUATION, Flag.END_HEADERS, 1, 5, PROTOCOL],
  ["a type that nobody knows", 0x16, 0xff, 0, 3, 0],
  ["… beyond the size", 0x16, 0xff, 7, MAX + 1, SIZE],
];

/** While the header block of stream 3 has not ended. */
const OPEN_BLOCK_RULES: ReadonlyArray<
  readonly [why: string, type: number, stream: number, length: number, is: number]
> = [
  ["CONTINUATION", CONTINUATION, 3, 5, 0],
  ["CONTINUATION beyond the size", CONTINUATION, 3, MAX + 1, SIZE],
  ["CONTINUATION of another stream", CONTINUATION, 5, 5, PROTOCOL],
  ["CONTINUATION of no stream", CONTINUATION, 0, 5, PROTOCOL],
  ["HEADERS", HEADERS, 3, 5, PROTOCOL],
  ["DATA", DATA, 3, 5, PROTOCOL],
  ["PING", PING, 0, 8, PROTOCOL],
  ["a type that nobody knows", 0x16, 3, 1, PROTOCOL],
];

/** By the payload. */
const PAYLOAD_RULES: ReadonlyArray<
  readonly [why: string, type: number, flags: number, stream: number, payload: string, is: number]
> = [
  ["DATA", DATA, 0, 1, "ff", 0],
  ["DATA without a byte", DATA, 0, 1, "", 0],
  ["DATA with padding", DATA, Flag.PADDED, 1, "02 61 0000", 0],
  ["DATA of padding alone", DATA, Flag.PADDED, 1, "02 0000", 0],
  ["DATA with more padding than there is", DATA, Flag.PADDED, 1, "03 0000", PROTOCOL],
  ["padding that would take its own length", DATA, Flag.PADDED, 1, "01", PROTOCOL],
  ["HEADERS of padding alone", HEADERS, Flag.PADDED, 1, "02 0000", 0],
  ["HEADERS with more padding", HEADERS, Flag.PADDED, 1, "03 0000", PROTOCOL],
  ["HEADERS after another", HEADERS, Flag.PRIORITY, 3, "80000001 10 82", 0],
  ["HEADERS after itself", HEADERS, Flag.PRIORITY, 3, "80000003 10 82", -PROTOCOL],
  ["… padded", HEADERS, Flag.PRIORITY | Flag.PADDED, 3, "01 00000003 10 82 00", -PROTOCOL],
  ["… with more padding than there is", HEADERS, 0x28, 3, "02 00000001 10 82", PROTOCOL],
  ["PRIORITY after another", PRIORITY, 0, 3, "00000000 10", 0],
  ["PRIORITY after itself", PRIORITY, 0, 3, "00000003 10", -PROTOCOL],
  ["an increment", WINDOW_UPDATE, 0, 1, "00000001", 0],
  ["the reserved bit of an increment", WINDOW_UPDATE, 0, 0, "80000001", 0],
  ["no increment of a stream", WINDOW_UPDATE, 0, 1, "00000000", -PROTOCOL],
  ["no increment of the connection", WINDOW_UPDATE, 0, 0, "80000000", PROTOCOL],
  ["pushes allowed", SETTINGS, 0, 0, "0002 00000001", 0],
  ["pushes half allowed", SETTINGS, 0, 0, "0002 00000002", PROTOCOL],
  ["the largest window", SETTINGS, 0, 0, "0004 7fffffff", 0],
  ["a window beyond", SETTINGS, 0, 0, "0004 80000000", FLOW],
  ["the smallest frame size", SETTINGS, 0, 0, "0005 00004000", 0],
  ["a frame size below", SETTINGS, 0, 0, "0005 00003fff", PROTOCOL],
  ["the largest frame size", SETTINGS, 0, 0, "0005 00ffffff", 0],
  ["a frame size beyond", SETTINGS, 0, 0, "0005 01000000", PROTOCOL],
  ["extended CONNECT", SETTINGS, 0, 0, "0008 00000001", 0],
  ["extended CONNECT by halves", SETTINGS, 0, 0, "0008 00000002", PROTOCOL],
  ["any size of table", SETTINGS, 0, 0, "0001 ffffffff", 0],
  ["a setting that nobody knows", SETTINGS, 0, 0, "abcd ffffffff", 0],
  ["a wrong setting behind a right one", SETTINGS, 0, 0, "0001 00000000 0002 00000003", PROTOCOL],
  ["PING", PING, 0, 0, "0000000000000000", 0],
];

describe("HTTP/2 frames", () => {
  for (const [why, type, flags, stream, length, is] of HEADER_RULES) {
    it(`judges by the header: ${why}`, () => {
      assert.equal(judgeHeader(length, type, flags, stream, MAX, 0), is);
    });
  }
  for (const [why, type, stream, length, is] of OPEN_BLOCK_RULES) {
    it(`judges within a header block: ${why}`, () => {
      assert.equal(judgeHeader(length, type, 0, stream, MAX, 3), is);
    });
  }
  for (const [why, type, flags, stream, payload, is] of PAYLOAD_RULES) {
    it(`judges by the payload: ${why}`, () => {
      const bytes = hex(payload);
      const judged = judgedBytes(bytes.length, type, flags);
      assert.ok(judged <= bytes.length);
      // What it does not ask for, it does not look at.
      const buffer = Buffer.alloc(2 + FRAME_HEADER_BYTES + judged);
      writeFrameHeader(buffer, 2, bytes.length, type, flags, stream);
      bytes.copy(buffer, 2 + FRAME_HEADER_BYTES, 0, judged);
      assert.equal(judgePayload(buffer, 2, bytes.length, type, flags, false), is);
    });
  }

  it("lets no server allow pushes", () => {
    const buffer = Buffer.alloc(32);
    writeSettings(buffer, 0, [Setting.ENABLE_PUSH, 1]);
    assert.equal(judgePayload(buffer, 0, 6, SETTINGS, 0, true), PROTOCOL);
    writeSettings(buffer, 0, [Setting.ENABLE_PUSH, 0]);
    assert.equal(judgePayload(buffer, 0, 6, SETTINGS, 0, true), 0);
  });

  it("reads a header where it lies, without the reserved bit", () => {
    const buffer = hex("0000 123456 01 2d 80000003 ffffffff");
    assert.equal(frameLength(buffer, 2), 0x12_34_56);
    assert.equal(frameType(buffer, 2), HEADERS);
    assert.equal(frameFlags(buffer, 2), 0x2d);
    assert.equal(frameStream(buffer, 2), 3);
    assert.equal(uint31(buffer, 11), 0x7fff_ffff);
    assert.equal(promisedBytes(HEADERS, 0x2d), 6);
    assert.equal(promisedBytes(CONTINUATION, 0x2d), 0);
    assert.equal(paddingBytes(buffer, 2, 0x2d), 0xff);
    assert.equal(paddingBytes(buffer, 2, 0x05), 0);
  });

  it("names errors", () => {
    assert.equal(errorName(0), "NO_ERROR");
    assert.equal(errorName(9), "COMPRESSION_ERROR");
    assert.equal(errorName(13), "HTTP_1_1_REQUIRED");
    assert.equal(errorName(0x1234), "0x1234");
    assert.equal(PREFACE.length, 24);
  });

  it("writes each kind", () => {
    const write = (act: (buffer: Buffer) => number): string => {
      const buffer = Buffer.alloc(64, 0xee);
      const end = act(buffer);
      assert.ok(buffer.subarray(end).every((byte) => byte === 0xee));
      assert.equal(buffer[0], 0xee);
      return buffer.subarray(1, end).toString("hex");
    };
    assert.equal(
      write((b) => writeSettings(b, 1, [Setting.MAX_CONCURRENT_STREAMS, 100, 0x8, 0xffff_ffff])),
      "00000c040000000000000300000064" + "0008ffffffff",
    );
    assert.equal(
      write((b) => writeSettingsAck(b, 1)),
      "000000040100000000",
    );
    const opaque = hex("ff 0102030405060708");
    assert.equal(
      write((b) => writePing(b, 1, true, opaque, 1)),
      "0000080601000000000102030405060708",
    );
    assert.equal(
      write((b) => writePing(b, 1, false, opaque, 0)),
      "000008060000000000ff01020304050607",
    );
    assert.equal(
      write((b) => writeGoaway(b, 1, 0x7fff_ffff, ErrorCode.NO_ERROR)),
      "0000080700000000007fffffff00000000",
    );
    assert.equal(
      write((b) => writeWindowUpdate(b, 1, 5, 0x7fff_ffff)),
      "0000040800000000057fffffff",
    );
    assert.equal(
      write((b) => writeRstStream(b, 1, 7, ErrorCode.ENHANCE_YOUR_CALM)),
      "0000040300000000070000000b",
    );
    assert.equal(
      write((b) => writeDataHeader(b, 1, 0x01_02_03, 9, true)),
      "010203000100000009",
    );
    assert.equal(
      write((b) => writeDataHeader(b, 1, 1, 9, false)),
      "000001000000000009",
    );
  });

  it("makes as many frames of a header block as it takes", () => {
    for (const length of [0, 1, 9, 10, 11, 19, 20, 21, 30, 95]) {
      const block = Buffer.from(Array.from({ length }, (_, i) => i + 1));
      const pieces = Math.max(1, Math.ceil(length / 10));
      const buffer = Buffer.alloc(2 + length + pieces * FRAME_HEADER_BYTES);
      block.copy(buffer, 2 + FRAME_HEADER_BYTES);
      const blockEnd = 2 + FRAME_HEADER_BYTES + length;
      const end = writeHeaders(buffer, 2, blockEnd, 3, true, 10);
      assert.equal(end, buffer.length);
      const found: Buffer[] = [];
      for (let at = 2; at < end; at += FRAME_HEADER_BYTES + frameLength(buffer, at)) {
        const isFirst = at === 2;
        const isLast = at + FRAME_HEADER_BYTES + frameLength(buffer, at) === end;
        assert.equal(frameType(buffer, at), isFirst ? HEADERS : CONTINUATION);
        const flags = (isFirst ? Flag.END_STREAM : 0) | (isLast ? Flag.END_HEADERS : 0);
        assert.equal(frameFlags(buffer, at), flags);
        assert.equal(frameStream(buffer, at), 3);
        assert.ok(frameLength(buffer, at) <= 10);
        const from = at + FRAME_HEADER_BYTES;
        found.push(buffer.subarray(from, from + frameLength(buffer, at)));
      }
      assert.equal(found.length, pieces);
      assert.deepEqual(Buffer.concat(found), block);
    }
  });

  it("says what room the frames of a block would take, and leaves it as it is", () => {
    const buffer = Buffer.alloc(2 + FRAME_HEADER_BYTES + 25, 7);
    const before = Buffer.from(buffer);
    assert.equal(
      writeHeaders(buffer, 2, buffer.length, 3, false, 10),
      -(25 + 3 * FRAME_HEADER_BYTES),
    );
    assert.deepEqual(buffer, before);
  });
});
