import {
  type ClientHttp2Session,
  connect,
  createServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  sensitiveHeaders,
} from "node:http2";
import { Duplex } from "node:stream";
import {
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  frameFlags,
  frameLength,
  frameStream,
  frameType,
  PREFACE,
  uint32,
  writeFrameHeader,
  writeHeaders,
  writeSettings,
  writeSettingsAck,
} from "#proxy/http2/frames.ts";

/** A frame that node wrote. */
interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Our end of a connection to node: what it writes is cut into frames, what we write it reads. */
class Wire extends Duplex {
  readonly frames: Frame[] = [];
  #read = Buffer.alloc(0);
  #waiting: Array<() => void> = [];
  #skip: number;

  /** @param skip bytes before the first frame. */
  constructor(skip: number) {
    super();
    this.#skip = skip;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#read = Buffer.concat([this.#read, chunk]);
    const preface = Math.min(this.#skip, this.#read.length);
    this.#skip -= preface;
    let at = preface;
    const buffer = this.#read;
    while (buffer.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + frameLength(buffer, at);
      if (end > buffer.length) break;
      this.frames.push({
        type: frameType(buffer, at),
        flags: frameFlags(buffer, at),
        stream: frameStream(buffer, at),
        payload: buffer.subarray(at + FRAME_HEADER_BYTES, end),
      });
      at = end;
    }
    this.#read = buffer.subarray(at);
    for (const wake of this.#waiting.splice(0)) wake();
    done();
  }

  override _final(done: () => void): void {
    for (const wake of this.#waiting.splice(0)) wake();
    done();
  }

  /** The first frame that has not been taken and is such a one, or the end by GOAWAY. */
  async frame(wanted: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const at = this.frames.findIndex((frame) => wanted(frame) || frame.type === FrameType.GOAWAY);
      if (at >= 0) return this.frames.splice(at, 1)[0]!;
      if (this.writableFinished || this.destroyed)
        throw new Error("node has closed the connection");
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

const isSettings = (frame: Frame): boolean =>
  frame.type === FrameType.SETTINGS && (frame.flags & Flag.ACK) === 0;
const isAck = (frame: Frame): boolean =>
  frame.type === FrameType.SETTINGS && (frame.flags & Flag.ACK) !== 0;

/** Frames of a block at hand. */
function framesOf(block: Uint8Array, stream: number, frameSizeMax: number): Buffer {
  const pieces = Math.ceil(block.length / frameSizeMax) + 1;
  const buffer = Buffer.alloc(block.length + pieces * FRAME_HEADER_BYTES);
  buffer.set(block, FRAME_HEADER_BYTES);
  const blockEnd = FRAME_HEADER_BYTES + block.length;
  return buffer.subarray(0, writeHeaders(buffer, 0, blockEnd, stream, true, frameSizeMax));
}

function settingsOf(pairs: readonly number[]): Buffer {
  const buffer = Buffer.alloc(64);
  return buffer.subarray(0, writeSettings(buffer, 0, pairs));
}

function ack(): Buffer {
  const buffer = Buffer.alloc(FRAME_HEADER_BYTES);
  writeSettingsAck(buffer, 0);
  return buffer;
}

/** Node's server as the decoder of what our encoder writes. */
export class NodeDecoder {
  readonly #wire = new Wire(0);
  readonly #server = createServer({ maxHeaderListPairs: 1_000 });
  #session: ServerHttp2Session | undefined;
  #heads: string[][] = [];
  #stream = -1;

  constructor(tableBytes: number) {
    this.#server.updateSettings({ headerTableSize: tableBytes, maxHeaderListSize: 1 << 20 });
    this.#server.on("session", (session) => {
      this.#session = session;
      session.on("error", () => {});
    });
    this.#server.on("sessionError", () => {});
    this.#server.on("stream", (stream: ServerHttp2Stream, _headers, _flags, raw) => {
      this.#heads.push(raw as unknown as string[]);
      stream.on("error", () => {});
      stream.respond({ ":status": 204 }, { endStream: true });
    });
    this.#server.emit("connection", this.#wire);
    this.#wire.push(PREFACE);
    this.#wire.push(settingsOf([]));
  }

  /** Waits for its SETTINGS and acknowledges them. Returns the table's size if they say one. */
  async settings(): Promise<number | undefined> {
    const { payload } = await this.#wire.frame(isSettings);
    this.#wire.push(ack());
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === 1) return uint32(payload, at + 2);
    }
    return undefined;
  }

  /** Changes the table's size mid-flight. */
  change(tableBytes: number): Promise<number | undefined> {
    this.#session!.settings({ headerTableSize: tableBytes });
    return this.settings();
  }

  /** What it makes of a block: names and values, or the code of its GOAWAY or RST_STREAM. */
  async decode(block: Uint8Array): Promise<string[] | number> {
    this.#stream += 2;
    const stream = this.#stream;
    this.#wire.push(framesOf(block, stream, 16_384));
    const frame = await this.#wire.frame((one) => one.stream === stream);
    if (frame.type === FrameType.GOAWAY) return uint32(frame.payload, 4);
    if (frame.type === FrameType.RST_STREAM) return uint32(frame.payload, 0);
    return this.#heads.shift() ?? [];
  }

  close(): void {
    this.#session?.destroy();
    this.#wire.destroy();
  }
}

/** A request that node's server has had whole. */
export interface HadRequest {
  readonly stream: number;
  readonly fields: readonly string[];
  body: string;
  /** Its trailers, if it ended with some. */
  trailers: readonly string[];
  whole: boolean;
}

/** Node's server as the reader of frames; it answers each whole request with 204. */
export class NodeFrames {
  readonly requests: HadRequest[] = [];
  readonly #wire = new Wire(0);
  readonly #server = createServer({ maxHeaderListPairs: 1_000 });
  #session: ServerHttp2Session | undefined;

  constructor() {
    this.#server.on("session", (session) => {
      this.#session = session;
      session.on("error", () => {});
    });
    this.#server.on("sessionError", () => {});
    this.#server.on("stream", (stream: ServerHttp2Stream, _headers, _flags, raw) => {
      const fields = raw as unknown as string[];
      const had: HadRequest = { stream: stream.id!, fields, body: "", trailers: [], whole: false };
      this.requests.push(had);
      stream.on("error", () => {});
      stream.on("data", (chunk: Buffer) => {
        had.body += chunk.latin1Slice();
      });
      stream.on("trailers", (_last, _flags, rawLast) => {
        had.trailers = rawLast as unknown as string[];
      });
      stream.on("end", () => {
        if (stream.aborted || stream.destroyed) return;
        had.whole = true;
        stream.respond({ ":status": 204 }, { endStream: true });
      });
    });
    this.#server.emit("connection", this.#wire);
  }

  /** Hears bytes, and does what they make it do. */
  async say(bytes: Buffer): Promise<void> {
    if (this.isOver) return;
    this.#wire.push(bytes);
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  get frames(): readonly Frame[] {
    return this.#wire.frames;
  }

  get isOver(): boolean {
    const { frames } = this.#wire;
    return this.#wire.destroyed || frames.some(({ type }) => type === FrameType.GOAWAY);
  }

  close(): void {
    this.#session?.destroy();
    this.#wire.destroy();
  }
}

/** Node's client as the encoder of what our decoder reads. */
export class NodeEncoder {
  readonly #wire = new Wire(PREFACE.length);
  readonly #session: ClientHttp2Session;

  constructor(tableBytes: number) {
    this.#session = connect("http://a.example", { createConnection: () => this.#wire });
    this.#session.on("error", () => {});
    this.#wire.push(settingsOf([1, tableBytes, 3, 1_000]));
    this.#wire.push(ack());
  }

  /** Until it has acknowledged our SETTINGS. */
  async acknowledged(): Promise<void> {
    await this.#wire.frame(isAck);
  }

  /** Changes our table's size. More than one may be sent before the first is acknowledged. */
  change(tableBytes: number): void {
    this.#wire.push(settingsOf([1, tableBytes]));
  }

  /** The block that it makes of these fields. */
  async encode(fields: Record<string, string | string[]>, secret: string[]): Promise<Buffer> {
    const request = this.#session.request({ ...fields, [sensitiveHeaders]: secret });
    request.on("error", () => {});
    const first = await this.#wire.frame((frame) => frame.type === FrameType.HEADERS);
    if (first.type === FrameType.GOAWAY) throw new Error("node has given up");
    const from = (first.flags & Flag.PRIORITY) === 0 ? 0 : 5;
    const pieces = [first.payload.subarray(from)];
    for (let { flags } = first; (flags & Flag.END_HEADERS) === 0; ) {
      const more = await this.#wire.frame((frame) => frame.type === FrameType.CONTINUATION);
      flags = more.flags;
      pieces.push(more.payload);
    }
    const reset = Buffer.alloc(FRAME_HEADER_BYTES + 4);
    writeFrameHeader(reset, 0, 4, FrameType.RST_STREAM, 0, first.stream);
    this.#wire.push(reset);
    return Buffer.concat(pieces);
  }

  close(): void {
    this.#session.destroy();
    this.#wire.destroy();
  }
}
