import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { DataInProgress } from "#proxy/http2/data_in_progress.ts";
import type { Flood } from "#proxy/http2/flood_guard.ts";
import {
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_DEFAULT,
  FrameType,
  frameFlags,
  frameLength,
  frameStream,
  frameType,
  judgedBytes,
  judgeHeader,
  judgePayload,
  paddingBytes,
  promisedBytes,
} from "#proxy/http2/frames.ts";
import { type DecodeVerdict, HeaderBlock, HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { OpenBlock } from "#proxy/http2/open_block.ts";
import type { Http2Stream } from "#proxy/http2/stream.ts";

const EMPTY = Buffer.alloc(0);
/** One per process is enough: a block is handed on before the next is decoded. */
const decoded = new HeaderBlock();

/** What becomes of frames that are whole, and are in order by themselves. */
export interface FrameSink {
  /** The connection has ended: nothing more is read. */
  readonly over: boolean;
  /** A complete header block. @param streamError what its stream has to end with; 0: nothing. */
  onHeaders(
    id: number,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
    streamError: number,
  ): void;
  /**
   * A DATA frame has begun: `length` bytes by its header, `content` of them without padding.
   * @returns who takes the content; undefined: nobody.
   */
  onData(id: number, length: number, content: number, endStream: boolean): Http2Stream | undefined;
  /** Bytes of DATA frames that nobody else has to take. */
  consumed(bytes: number): void;
  /** A frame of any other type. @param at of its payload. */
  onControl(
    buffer: Buffer,
    at: number,
    length: number,
    type: number,
    flags: number,
    id: number,
  ): void;
  /** A frame of any other type that ends its stream. */
  onBrokenFrame(id: number, code: number, what: string): void;
  /** False: it was too much, and the connection has ended. */
  flood(kind: Flood): boolean;
  /** A header block is longer than anybody needs. */
  onEndlessBlock(): void;
  /** It breaks a rule of the connection. */
  die(code: number, detail: string): void;
}

/** A header block, packed as it is, may be so many times as large as a head before it ends the connection. */
const BLOCK_FACTOR = 2;

/** Reads the frames of one direction in place: judges them, joins and decodes header blocks, hands on bodies. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #limits: ConnectionLimits;
  /** The peer is the server. */
  readonly #fromServer: boolean;
  readonly #decoder = new HpackDecoder();
  /** The part of a frame that is not complete. */
  #unread: Buffer = EMPTY;
  #openBlock: OpenBlock | undefined = undefined;
  /** Frames and header blocks that were read to their end. */
  unitsRead = 0;
  #settingsSeen = false;
  readonly #data: DataInProgress;

  constructor(sink: FrameSink, limits: ConnectionLimits, fromServer: boolean) {
    this.#sink = sink;
    this.#limits = limits;
    this.#fromServer = fromServer;
    this.#data = new DataInProgress((bytes) => sink.consumed(bytes));
  }

  /** A frame or a header block has begun, and its end is not here. Of DATA its stream knows. */
  get isInsideUnit(): boolean {
    return this.#openBlock !== undefined || this.#unread.length > 0;
  }

  /** @param chunk is read into again: what is kept of it is copied by `letGo`. */
  read(chunk: Buffer): void {
    if (this.#sink.over) return;
    const buffer = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    this.#unread = EMPTY;
    const at = this.#readFrames(buffer);
    if (!this.#sink.over && at < buffer.length) this.#unread = buffer.subarray(at);
  }

  /** `memory` is about to be overwritten. */
  letGo(memory: ArrayBufferLike): void {
    if (this.#unread.buffer === memory) this.#unread = Buffer.from(this.#unread);
  }

  /** Nothing is read any more. */
  close(): void {
    this.#unread = EMPTY;
    this.#openBlock = undefined;
  }

  /** Returns where it stopped: what is behind needs more bytes. */
  #readFrames(buffer: Buffer): number {
    const sink = this.#sink;
    let at = 0;
    while (!sink.over) {
      if (this.#data.active) {
        at = this.#data.read(buffer, at);
        if (this.#data.active || sink.over) return at;
      }
      const here = buffer.length - at - FRAME_HEADER_BYTES;
      if (here < 0) return at;
      const length = frameLength(buffer, at);
      const type = frameType(buffer, at);
      const flags = frameFlags(buffer, at);
      const id = frameStream(buffer, at);
      const openId = this.#openBlock === undefined ? 0 : this.#openBlock.stream;
      const verdict = judgeHeader(length, type, flags, id, FRAME_SIZE_DEFAULT, openId);
      if (verdict > 0) {
        sink.die(verdict, `frame ${type}`);
        return at;
      }
      if (!this.#settingsSeen) {
        // RFC 9113 §3.4: settings come first.
        if (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0) {
          sink.die(ErrorCode.PROTOCOL_ERROR, "no SETTINGS");
          return at;
        }
        this.#settingsSeen = here >= length;
      }
      if (type === FrameType.DATA) {
        if (here < judgedBytes(length, type, flags)) return at;
        at = this.#beginData(buffer, at, length, flags, id);
        continue;
      }
      if (here < length) return at;
      const judged =
        verdict !== 0 ? verdict : judgePayload(buffer, at, length, type, flags, this.#fromServer);
      if (judged > 0) {
        sink.die(judged, `frame ${type}`);
        return at;
      }
      this.#take(buffer, at, length, type, flags, id, -judged);
      if (this.#openBlock === undefined) this.unitsRead++;
      at += FRAME_HEADER_BYTES + length;
    }
    return at;
  }

  /** @param streamError what its stream ends with; 0: nothing. */
  #take(
    buffer: Buffer,
    at: number,
    length: number,
    type: number,
    flags: number,
    id: number,
    streamError: number,
  ): void {
    const payload = at + FRAME_HEADER_BYTES;
    if (type === FrameType.HEADERS) {
      const from = payload + promisedBytes(type, flags);
      const to = payload + length - paddingBytes(buffer, at, flags);
      const endStream = (flags & Flag.END_STREAM) !== 0;
      if ((flags & Flag.END_HEADERS) !== 0) {
        this.#decode(buffer, from, to, id, endStream, streamError);
      } else this.#beginBlock(buffer.subarray(from, to), id, endStream);
    } else if (type === FrameType.CONTINUATION) {
      this.#continueBlock(buffer.subarray(payload, payload + length), flags);
    } else if (streamError !== 0) this.#sink.onBrokenFrame(id, streamError, `frame ${type}`);
    else this.#sink.onControl(buffer, payload, length, type, flags, id);
  }

  // ── header blocks ──

  #beginBlock(part: Buffer, stream: number, endStream: boolean): void {
    this.#openBlock = new OpenBlock(stream, endStream);
    this.#openBlock.add(part, part.length);
  }

  #continueBlock(part: Buffer, flags: number): void {
    const open = this.#openBlock!;
    if (part.length === 0 && !this.#sink.flood("empty_block")) return;
    // What is a little too large gets an answer that says so.
    if (!open.add(part, this.#limits.headBytesMax * BLOCK_FACTOR)) {
      this.#sink.onEndlessBlock();
      return;
    }
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.#openBlock = undefined;
    const block = open.joined();
    this.#decode(block, 0, block.length, open.stream, open.endStream, 0);
  }

  #decode(
    buffer: Buffer,
    from: number,
    to: number,
    id: number,
    endStream: boolean,
    streamError: number,
  ): void {
    const verdict = this.#decoder.decode(buffer, from, to, this.#limits, decoded);
    if (verdict === "compression_error") {
      this.#sink.die(ErrorCode.COMPRESSION_ERROR, "header block");
    } else this.#sink.onHeaders(id, endStream, verdict, decoded, streamError);
  }

  // ── DATA ──

  #beginData(buffer: Buffer, at: number, length: number, flags: number, id: number): number {
    const sink = this.#sink;
    const judged = judgePayload(buffer, at, length, FrameType.DATA, flags, this.#fromServer);
    if (judged > 0) {
      sink.die(judged, "DATA");
      return at;
    }
    const promised = promisedBytes(FrameType.DATA, flags);
    const padding = paddingBytes(buffer, at, flags);
    const content = length - promised - padding;
    const endStream = (flags & Flag.END_STREAM) !== 0;
    const stream = sink.onData(id, length, content, endStream);
    if (sink.over) return at;
    this.#data.begin(stream, content, padding, endStream);
    if (promised + padding > 0) {
      sink.consumed(promised + padding);
      stream?.refill();
    }
    return at + FRAME_HEADER_BYTES + promised;
  }
}
