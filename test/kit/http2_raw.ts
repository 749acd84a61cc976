import { connect, type Socket } from "node:net";
import {
  FRAME_HEADER_BYTES,
  FrameType,
  frameLength,
  frameStream,
  frameType,
  PREFACE,
  uint32,
  writeFrameHeader,
  writeSettings,
} from "#proxy/http2/frames.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { until } from "#test/kit/processes.ts";

/** A frame that was heard. */
export interface HeardFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** A client that says frames, right ones and wrong ones, and keeps what it hears. */
export class RawHttp2 {
  readonly socket: Socket;
  readonly frames: HeardFrame[] = [];
  closed = false;
  readonly #encoder = new HpackEncoder();
  #unread: Buffer = Buffer.alloc(0);

  constructor(port: number, settings: readonly number[] = []) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (chunk: Buffer) => this.#hear(chunk));
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.closed = true;
    });
    const greeting = Buffer.alloc(256);
    this.socket.write(PREFACE);
    this.socket.write(greeting.subarray(0, writeSettings(greeting, 0, settings)));
  }

  say(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    this.socket.write(frame(type, flags, stream, payload));
  }

  /** A header block of these fields. */
  block(fields: ReadonlyArray<readonly [string, string]>): Buffer {
    const buffer = Buffer.alloc(100_000);
    this.#encoder.begin(buffer, 0, 90_000);
    for (const [name, value] of fields) this.#encoder.put(name, value, false);
    return buffer.subarray(0, this.#encoder.end());
  }

  /** A request that ends with its head, or goes on. */
  ask(stream: number, more: ReadonlyArray<readonly [string, string]> = [], ends = true): void {
    const head = [
      [":method", ends ? "GET" : "POST"],
      [":scheme", "http"],
      [":authority", "a"],
      [":path", "/"],
      ...more,
    ] as const;
    this.say(FrameType.HEADERS, ends ? 0x5 : 0x4, stream, this.block(head));
  }

  of(type: number, stream?: number): HeardFrame[] {
    return this.frames.filter(
      (heard) => heard.type === type && (stream === undefined || heard.stream === stream),
    );
  }

  /** The error code of the connection's end. */
  async goaway(): Promise<number> {
    await until("GOAWAY", () => this.of(FrameType.GOAWAY).length > 0);
    return uint32(this.of(FrameType.GOAWAY).at(-1)!.payload, 4);
  }

  /** The error code of a stream's end. */
  async reset(stream: number): Promise<number> {
    await until("RST_STREAM", () => this.of(FrameType.RST_STREAM, stream).length > 0);
    return uint32(this.of(FrameType.RST_STREAM, stream)[0]!.payload, 0);
  }

  #hear(chunk: Buffer): void {
    this.#unread = takeFrames(Buffer.concat([this.#unread, chunk]), this.frames);
  }
}

/** Takes whole frames off the begin. Returns the rest. */
export function takeFrames(bytes: Buffer, into: HeardFrame[]): Buffer {
  let rest = bytes;
  while (rest.length >= FRAME_HEADER_BYTES) {
    const end = FRAME_HEADER_BYTES + frameLength(rest, 0);
    if (rest.length < end) break;
    into.push({
      type: frameType(rest, 0),
      flags: rest[4]!,
      stream: frameStream(rest, 0),
      payload: rest.subarray(FRAME_HEADER_BYTES, end),
    });
    rest = rest.subarray(end);
  }
  return rest;
}

/** The bytes of one frame. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  writeFrameHeader(head, 0, payload.length, type, flags, stream);
  return Buffer.concat([head, payload]);
}

/** 32 bits in network order: a window's increment, an error code. */
export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
