import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { LinkedList } from "#kernel/linked_list.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import type { Http1Limits } from "#proxy/http1/limits.ts";
import { beginWork, endWork } from "#proxy/http1/work.ts";
import { ClosedStreams } from "#proxy/http2/closed_streams.ts";
import {
  encodeAnswer,
  encodeInterim,
  encodeRequest,
  encodeTrailers,
} from "#proxy/http2/field_writer.ts";
import { type Flood, FloodGuard } from "#proxy/http2/flood_guard.ts";
import {
  ErrorCode,
  errorName,
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
  SETTING_BYTES,
  Setting,
  uint16,
  uint31,
  uint32,
  WINDOW_MAX,
  writeDataHeader,
  writeGoaway,
  writeHeaders,
  writePing,
  writeRstStream,
  writeSettingsAck,
  writeWindowUpdate,
} from "#proxy/http2/frames.ts";
import { type DecodeVerdict, HeaderBlock, HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";
import { count, type Http2Counters } from "#proxy/http2/http2_counters.ts";
import { Outbox } from "#proxy/http2/outbox.ts";
import { ReceiveWindow, WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";
import type { Http2Stream, StreamCarrier } from "#proxy/http2/stream.ts";

const EMPTY = Buffer.alloc(0);
/** Room that most heads fit into. */
const HEAD_ROOM = 1_024;
/** A peer that does not read what it makes us say is let go when so much waits for it, bytes. */
const UNSENT_MAX = 1_048_576;
/** Pings of ours, by what they are for. */
const SAMPLE_PING = Buffer.from("espalier");
const DRAIN_PING = Buffer.from("drained?");
const PING_BYTES = 8;

export interface ConnectionOptions {
  readonly wheel: TimerWheel;
  readonly clock: Clock;
  readonly limits: Http1Limits;
  readonly counters: Http2Counters;
  /** How many times as much as of anybody is borne of this peer before it is a flood. */
  readonly trust: number;
  /** Bytes of streams whose readers are slow that may lie here before the other streams have to wait for them. */
  readonly heldBytesMax: number;
}

/** What a frame's block belongs to, while its CONTINUATION frames come. */
interface OpenBlock {
  stream: number;
  endStream: boolean;
  parts: Buffer[];
  bytes: number;
}

/** One per process is enough: a block is handed on before the next is decoded. */
const decoded = new HeaderBlock();

/**
 * An HTTP/2 connection (RFC 9113), of either role: reads frames in place, keeps the windows and the settings of
 * both sides, and shares the way out among the streams that wait. What a header block means is for the role to say.
 */
export abstract class Http2Connection extends WheelItem implements StreamCarrier {
  readonly out: Outbox;
  readonly window = new ReceiveWindow();
  protected readonly socket: Socket;
  protected readonly streams = new Map<number, Http2Stream>();
  protected readonly encoder = new HpackEncoder();
  /** The peer's SETTINGS_MAX_CONCURRENT_STREAMS. */
  protected peerStreamsMax = Number.POSITIVE_INFINITY;
  protected peerTakesConnect = false;
  protected peerSettled = false;
  protected over = false;
  /** From a ping of ours to its answer, ms; undefined: none has come back yet. */
  roundTripMs: Millis | undefined = undefined;
  /** A header block has begun and is not complete. */
  protected openBlock: OpenBlock | undefined = undefined;
  readonly #options: ConnectionOptions;
  readonly #isServer: boolean;
  readonly #decoder = new HpackDecoder();
  readonly #guard: FloodGuard;
  readonly #closed = new ClosedStreams();
  /** Streams whose turn to send it is. */
  readonly #ready = new LinkedList<Http2Stream>();
  #sendWindow = WINDOW_DEFAULT;
  #peerStreamWindow = WINDOW_DEFAULT;
  #receiveLeft = WINDOW_DEFAULT;
  /** Bytes that came and were not taken yet. */
  #held = 0;
  /** The part of a frame that is not complete. */
  #unread: Buffer = EMPTY;
  /** The DATA frame that is being read: what of it is to come, and whose it is. */
  #inData = false;
  #dataLeft = 0;
  #paddingLeft = 0;
  #dataEnds = false;
  #dataStream: Http2Stream | undefined = undefined;
  #settingsSeen = false;
  #sampledAt: Millis = 0;
  readonly #now = (): Millis => this.#options.clock.now();

  constructor(socket: Socket, options: ConnectionOptions, isServer: boolean) {
    super();
    this.socket = socket;
    this.#options = options;
    this.#isServer = isServer;
    this.out = new Outbox(socket);
    this.#guard = new FloodGuard(options.clock.now(), options.trust);
  }

  /** A complete header block: `decoded` holds what it says. */
  protected abstract onBlock(
    id: number,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
  ): void;
  /** The peer makes no more streams, or takes no more: of ours none above `last` was acted on. */
  protected abstract onGoaway(last: number, code: number): void;
  protected abstract onSettings(): void;
  /** The peer has seen all that we had said before `askDrained`. */
  protected abstract onDrainPing(): void;
  /** True of an id that no stream has had yet. */
  protected abstract isIdle(id: number): boolean;
  /** The highest stream of the peer that we have acted on. */
  protected abstract get lastPeerStream(): number;
  /** It has ended; the streams know. */
  protected abstract onOver(detail: string): void;
  /** A stream has gone. */
  protected abstract onForgotten(): void;

  get congested(): boolean {
    return this.out.congested;
  }

  /** What the first window update of a connection gives. */
  protected openWindow(): number {
    const more = this.window.connection - this.#receiveLeft;
    this.#receiveLeft = this.window.connection;
    return more;
  }

  protected get peerStreamWindow(): number {
    return this.#peerStreamWindow;
  }

  // ── reading ──

  /** @param chunk is read into again: what is kept of it is copied by `letGo`. */
  protected readChunk(chunk: Buffer): void {
    beginWork();
    try {
      if (this.over) return;
      const buffer = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
      this.#unread = EMPTY;
      const at = this.#readFrames(buffer);
      if (!this.over && at < buffer.length) this.#unread = buffer.subarray(at);
    } finally {
      endWork();
    }
  }

  letGo(memory: ArrayBufferLike): void {
    if (this.#unread.buffer === memory) this.#unread = Buffer.from(this.#unread);
  }

  /** Returns where it stopped: what is behind needs more bytes. */
  #readFrames(buffer: Buffer): number {
    let at = 0;
    while (!this.over) {
      if (this.#inData) {
        at = this.#readData(buffer, at);
        if (this.#inData) return at;
      }
      const here = buffer.length - at - FRAME_HEADER_BYTES;
      if (here < 0) return at;
      const length = frameLength(buffer, at);
      const type = frameType(buffer, at);
      const flags = frameFlags(buffer, at);
      const id = frameStream(buffer, at);
      const openId = this.openBlock === undefined ? 0 : this.openBlock.stream;
      const verdict = judgeHeader(length, type, flags, id, FRAME_SIZE_DEFAULT, openId);
      if (verdict > 0) {
        this.die(verdict, `frame ${type}`);
        return at;
      }
      if (!this.#settingsSeen && type !== FrameType.SETTINGS) {
        // RFC 9113 §3.4: settings come first.
        this.die(ErrorCode.PROTOCOL_ERROR, "no SETTINGS");
        return at;
      }
      if (type === FrameType.DATA) {
        if (here < judgedBytes(length, type, flags)) return at;
        at = this.#beginData(buffer, at, length, flags, id);
        continue;
      }
      if (here < length) return at;
      const judged =
        verdict !== 0 ? verdict : judgePayload(buffer, at, length, type, flags, !this.#isServer);
      if (judged > 0) {
        this.die(judged, `frame ${type}`);
        return at;
      }
      this.#take(buffer, at, length, type, flags, id, -judged);
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
      } else this.#openBlockWith(buffer.subarray(from, to), id, endStream);
      return;
    }
    if (type === FrameType.CONTINUATION) {
      this.#continue(buffer.subarray(payload, payload + length), flags);
      return;
    }
    if (streamError !== 0) {
      if (this.isIdle(id)) this.die(streamError, "on an idle stream");
      else this.streamError(id, streamError, `frame ${type}`);
      return;
    }
    switch (type) {
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, uint31(buffer, payload));
        break;
      case FrameType.RST_STREAM:
        this.#onReset(id, uint32(buffer, payload));
        break;
      case FrameType.SETTINGS:
        if ((flags & Flag.ACK) !== 0) break;
        this.#onSettings(buffer, payload, payload + length);
        break;
      case FrameType.PING:
        this.#onPing(buffer, payload, (flags & Flag.ACK) !== 0);
        break;
      case FrameType.GOAWAY: {
        const code = uint32(buffer, payload + 4);
        count(this.#options.counters.goawaysReceived, code);
        this.onGoaway(uint31(buffer, payload), code);
        break;
      }
      case FrameType.PRIORITY:
        this.flood("priority");
        break;
      default:
        this.flood("unknown_frame");
    }
  }

  // ── header blocks ──

  #openBlockWith(part: Buffer, stream: number, endStream: boolean): void {
    this.openBlock = { stream, endStream, parts: [Buffer.from(part)], bytes: part.length };
    this.armForBlock(this.#options.limits.headTimeoutMs);
  }

  /** A role that has a timer for it says so. */
  protected armForBlock(ms: Millis): void {
    this.#options.wheel.arm(this, ms);
  }

  #continue(part: Buffer, flags: number): void {
    const open = this.openBlock!;
    if (part.length === 0 && !this.flood("empty_block")) return;
    open.bytes += part.length;
    // Nothing that we would take is that large, packed as it is.
    if (open.bytes > this.#options.limits.headBytesMax) {
      this.die(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end");
      return;
    }
    open.parts.push(Buffer.from(part));
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.openBlock = undefined;
    const block = Buffer.concat(open.parts);
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
    const verdict = this.#decoder.decode(buffer, from, to, this.#options.limits, decoded);
    if (verdict === "compression_error") this.die(ErrorCode.COMPRESSION_ERROR, "header block");
    else if (streamError !== 0) this.streamError(id, streamError, "HEADERS");
    else this.onBlock(id, endStream, verdict, decoded);
  }

  /** A block for a stream that is no more. */
  protected onLateBlock(id: number): void {
    const how = this.#closed.howOf(id);
    // What was on its way when we reset it is no fault.
    if (how === "reset") return;
    const code = how === "ended" ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR;
    this.die(code, `HEADERS on stream ${id}`);
  }

  // ── DATA ──

  #beginData(buffer: Buffer, at: number, length: number, flags: number, id: number): number {
    const { counters: _ } = this.#options;
    const judged = judgePayload(buffer, at, length, FrameType.DATA, flags, !this.#isServer);
    if (judged > 0) {
      this.die(judged, "DATA");
      return at;
    }
    const promised = promisedBytes(FrameType.DATA, flags);
    const padding = paddingBytes(buffer, at, flags);
    const content = length - promised - padding;
    const endStream = (flags & Flag.END_STREAM) !== 0;
    if (length > this.#receiveLeft) {
      this.die(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window");
      return at;
    }
    this.#receiveLeft -= length;
    this.#held += length;
    this.window.received(length);
    if (content === 0 && !endStream && !this.flood("empty_data")) return at;
    const stream = this.#streamOfData(id, length, content, endStream);
    if (this.over) return at;
    this.#inData = true;
    this.#dataLeft = content;
    this.#paddingLeft = padding;
    this.#dataEnds = endStream;
    this.#dataStream = stream;
    if (promised + padding > 0) this.consumed(promised + padding);
    return at + FRAME_HEADER_BYTES + promised;
  }

  /** Undefined: nobody wants it. */
  #streamOfData(
    id: number,
    length: number,
    content: number,
    endStream: boolean,
  ): Http2Stream | undefined {
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id)) this.die(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream");
      else if (this.#closed.howOf(id) !== "reset") {
        this.streamError(id, ErrorCode.STREAM_CLOSED, "DATA on a closed stream");
      }
      return undefined;
    }
    const left = stream.bodyLeft;
    if (stream.remoteEnded) this.streamError(id, ErrorCode.STREAM_CLOSED, "DATA after its end");
    else if (length > stream.receiveLeft) {
      this.streamError(id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than its window");
    } else if (left >= 0 && (content > left || (endStream && content < left))) {
      this.streamError(id, ErrorCode.PROTOCOL_ERROR, "not as long as it said");
    } else {
      stream.receiveLeft -= length;
      if (left >= 0) stream.bodyLeft = left - content;
      return stream;
    }
    return undefined;
  }

  /** Hands on what is here of a DATA frame. Returns where it stopped. */
  #readData(buffer: Buffer, from: number): number {
    let at = from;
    const here = Math.min(this.#dataLeft, buffer.length - at);
    const stream = this.#dataStream;
    if (here > 0) {
      this.#dataLeft -= here;
      if (stream === undefined || stream.closed) this.consumed(here);
      else stream.receive(buffer.subarray(at, at + here));
      at += here;
    }
    if (this.#dataLeft > 0 || this.over) return at;
    const padding = Math.min(this.#paddingLeft, buffer.length - at);
    this.#paddingLeft -= padding;
    at += padding;
    if (this.#paddingLeft > 0) return at;
    this.#inData = false;
    this.#dataStream = undefined;
    if (this.#dataEnds && stream !== undefined && !stream.closed) stream.receiveEnd(undefined);
    return at;
  }

  consumed(bytes: number): void {
    this.#held -= bytes;
    const { connection } = this.window;
    const held = Math.max(0, this.#held - this.#options.heldBytesMax);
    const due = connection - held - this.#receiveLeft;
    if (due * 2 < connection || this.over) return;
    this.#receiveLeft += due;
    this.#writeWindowUpdate(0, due);
    this.#startSample();
  }

  grant(stream: Http2Stream, increment: number): void {
    if (this.over || !this.streams.has(stream.id)) return;
    this.#writeWindowUpdate(stream.id, increment);
    this.#startSample();
  }

  #writeWindowUpdate(id: number, increment: number): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + 4);
    this.out.at = writeWindowUpdate(buffer, this.out.at, id, increment);
  }

  #startSample(): void {
    const now = this.#options.clock.now();
    if (!this.window.startSample(now)) return;
    this.#sampledAt = now;
    this.#ping(SAMPLE_PING, 0, false);
  }

  // ── control ──

  #onWindowUpdate(id: number, increment: number): void {
    if (increment < SMALL_INCREMENT && !this.flood("window_update")) return;
    if (id === 0) {
      this.#sendWindow += increment;
      if (this.#sendWindow > WINDOW_MAX) {
        this.die(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31 - 1");
      } else this.#pump();
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id)) this.die(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
      return;
    }
    stream.sendWindow += increment;
    if (stream.sendWindow > WINDOW_MAX) {
      this.streamError(id, ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31 - 1");
      return;
    }
    stream.onWindow();
    this.#pump();
  }

  #onReset(id: number, code: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id)) this.die(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream");
      else this.flood("reset");
      return;
    }
    count(this.#options.counters.resetsReceived, code);
    this.#remove(stream, "ended");
    stream.drop();
    stream.onReset(code, `RST_STREAM ${errorName(code)}`);
    if (this.#isServer) this.flood("reset");
    this.onForgotten();
  }

  #onSettings(buffer: Buffer, from: number, to: number): void {
    this.#settingsSeen = true;
    if (!this.peerSettled) this.peerSettled = true;
    else if (!this.flood("settings")) return;
    for (let at = from; at < to; at += SETTING_BYTES) {
      const value = uint32(buffer, at + 2);
      switch (uint16(buffer, at)) {
        case Setting.HEADER_TABLE_SIZE:
          this.encoder.tableSizeChanged(value);
          break;
        case Setting.MAX_CONCURRENT_STREAMS:
          this.peerStreamsMax = value;
          break;
        case Setting.INITIAL_WINDOW_SIZE:
          if (!this.#changeWindows(value - this.#peerStreamWindow)) return;
          this.#peerStreamWindow = value;
          break;
        case Setting.ENABLE_CONNECT_PROTOCOL:
          this.peerTakesConnect = value === 1;
          break;
        default:
      }
    }
    const buffered = this.out.room(FRAME_HEADER_BYTES);
    this.out.at = writeSettingsAck(buffered, this.out.at);
    this.#boundUnsent();
    this.onSettings();
    this.#pump();
  }

  /** RFC 9113 §6.9.2: open streams follow, below zero if need be. */
  #changeWindows(by: number): boolean {
    for (const stream of this.streams.values()) {
      stream.sendWindow += by;
      if (stream.sendWindow > WINDOW_MAX) {
        this.die(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31 - 1");
        return false;
      }
      stream.onWindow();
    }
    return true;
  }

  #onPing(buffer: Buffer, at: number, ack: boolean): void {
    if (!ack) {
      if (!this.flood("ping")) return;
      this.#ping(buffer, at, true);
      this.#boundUnsent();
      return;
    }
    const opaque = buffer.subarray(at, at + PING_BYTES);
    if (opaque.equals(SAMPLE_PING)) {
      if (!this.window.sampling) return;
      this.roundTripMs = this.#options.clock.now() - this.#sampledAt;
      this.window.endSample();
    } else if (opaque.equals(DRAIN_PING)) this.onDrainPing();
  }

  #ping(opaque: Buffer, at: number, ack: boolean): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + PING_BYTES);
    this.out.at = writePing(buffer, this.out.at, ack, opaque, at);
  }

  /** `onDrainPing` is called when the peer has seen all that was said before. */
  protected askDrained(): void {
    this.#ping(DRAIN_PING, 0, false);
  }

  protected goaway(last: number, code: number): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES + PING_BYTES);
    this.out.at = writeGoaway(buffer, this.out.at, last, code);
    count(this.#options.counters.goawaysSent, code);
  }

  /** Whoever makes us answer reads the answers, or is let go. */
  #boundUnsent(): void {
    if (this.socket.writableLength < UNSENT_MAX) return;
    this.#options.counters.calmed++;
    this.lose("it does not read what it asks for");
  }

  /** One thing of this kind is borne; false: it was too much, and the connection has ended. */
  protected flood(kind: Flood): boolean {
    this.#options.counters.floods[kind]++;
    if (this.#guard.spend(this.#now)) return true;
    this.#options.counters.calmed++;
    this.die(ErrorCode.ENHANCE_YOUR_CALM, `a flood of ${kind}`);
    return false;
  }

  /** An exchange has come to a good end. */
  protected earn(): void {
    this.#guard.earn();
  }

  // ── writing ──

  writeData(stream: Http2Stream, chunk: Buffer, framesMax: number): number {
    const { out } = this;
    let sent = 0;
    for (let frames = 0; frames < framesMax && sent < chunk.length; frames++) {
      const window = Math.min(stream.sendWindow, this.#sendWindow, FRAME_SIZE_DEFAULT);
      const bytes = Math.min(chunk.length - sent, window);
      if (bytes <= 0 || out.congested) break;
      const buffer = out.room(FRAME_HEADER_BYTES + bytes);
      stream.noteFrame(out.at);
      const at = writeDataHeader(buffer, out.at, bytes, stream.id, false);
      chunk.copy(buffer, at, sent, sent + bytes);
      out.at = at + bytes;
      stream.sendWindow -= bytes;
      this.#sendWindow -= bytes;
      sent += bytes;
    }
    return sent;
  }

  writeEnd(stream: Http2Stream): void {
    const buffer = this.out.room(FRAME_HEADER_BYTES);
    this.out.at = writeDataHeader(buffer, this.out.at, 0, stream.id, true);
  }

  writeTrailers(stream: Http2Stream, trailers: Fields): void {
    const { out, encoder } = this;
    let buffer = out.room(HEAD_ROOM);
    let end = encodeTrailers(encoder, trailers, undefined, buffer, out.at + FRAME_HEADER_BYTES);
    if (end < 0) {
      buffer = out.room(FRAME_HEADER_BYTES - end);
      end = encodeTrailers(encoder, trailers, undefined, buffer, out.at + FRAME_HEADER_BYTES);
    }
    this.#frame(stream, buffer, end, true);
  }

  writeAnswer(stream: Http2Stream, head: AnswerHead): void {
    const { out, encoder } = this;
    const never = head.neverIndexed;
    let buffer = out.room(HEAD_ROOM);
    let end = encodeAnswer(encoder, head, never, buffer, out.at + FRAME_HEADER_BYTES);
    if (end < 0) {
      buffer = out.room(FRAME_HEADER_BYTES - end);
      end = encodeAnswer(encoder, head, never, buffer, out.at + FRAME_HEADER_BYTES);
    }
    this.#frame(stream, buffer, end, false);
  }

  writeInterim(stream: Http2Stream, status: number, fields: Fields): void {
    const { out, encoder } = this;
    let buffer = out.room(HEAD_ROOM);
    let end = encodeInterim(encoder, status, fields, buffer, out.at + FRAME_HEADER_BYTES);
    if (end < 0) {
      buffer = out.room(FRAME_HEADER_BYTES - end);
      end = encodeInterim(encoder, status, fields, buffer, out.at + FRAME_HEADER_BYTES);
    }
    this.#frame(stream, buffer, end, false);
  }

  writeRequest(stream: Http2Stream, head: RequestHead, scheme: "http" | "https"): void {
    const { out, encoder } = this;
    const never = head.neverIndexed;
    let buffer = out.room(HEAD_ROOM);
    let end = encodeRequest(encoder, head, scheme, never, buffer, out.at + FRAME_HEADER_BYTES);
    if (end < 0) {
      buffer = out.room(FRAME_HEADER_BYTES - end);
      end = encodeRequest(encoder, head, scheme, never, buffer, out.at + FRAME_HEADER_BYTES);
    }
    this.#frame(stream, buffer, end, false);
  }

  #frame(stream: Http2Stream, buffer: Buffer, end: number, endStream: boolean): void {
    const { out } = this;
    let after = writeHeaders(buffer, out.at, end, stream.id, endStream, FRAME_SIZE_DEFAULT);
    if (after < 0) {
      // The tables have moved on: the block is the same in a larger place.
      const block = Buffer.from(buffer.subarray(out.at + FRAME_HEADER_BYTES, end));
      const larger = out.room(-after);
      block.copy(larger, out.at + FRAME_HEADER_BYTES);
      const blockEnd = out.at + FRAME_HEADER_BYTES + block.length;
      after = writeHeaders(larger, out.at, blockEnd, stream.id, endStream, FRAME_SIZE_DEFAULT);
    }
    stream.noteFrame(out.at);
    out.at = after;
  }

  await(stream: Http2Stream): void {
    if (!stream.isListed && !stream.closed) this.#ready.push(stream);
  }

  /** Those who wait send a frame each, round and round. */
  #pump(): void {
    while (this.#ready.size > 0 && this.#sendWindow > 0 && !this.out.congested) {
      this.#ready.shift()!.pump();
    }
  }

  protected onSocketDrain(): void {
    beginWork();
    this.#pump();
    endWork();
  }

  // ── ends of streams ──

  protected add(stream: Http2Stream): void {
    this.streams.set(stream.id, stream);
    this.#options.counters.streams++;
  }

  forget(stream: Http2Stream): void {
    if (this.streams.get(stream.id) !== stream) return;
    this.#remove(stream, "ended");
    this.earn();
    this.onForgotten();
  }

  reset(stream: Http2Stream, code: number): void {
    const isOpen = this.streams.get(stream.id) === stream;
    if (isOpen) {
      this.#remove(stream, "reset");
      this.#writeReset(stream.id, code);
    }
    stream.drop();
    if (isOpen) this.onForgotten();
  }

  /** The peer has broken a rule of a stream. */
  protected streamError(id: number, code: number, detail: string): void {
    const stream = this.streams.get(id);
    this.#writeReset(id, code);
    if (stream === undefined) this.#closed.add(id, "reset");
    else {
      this.#remove(stream, "reset");
      stream.drop();
      stream.onReset(code, detail);
    }
    this.flood("stream_error");
    if (stream !== undefined) this.onForgotten();
  }

  /** A stream that is refused before it is one. */
  protected refuseStream(id: number, code: number): void {
    this.#writeReset(id, code);
    this.#closed.add(id, "reset");
  }

  #writeReset(id: number, code: number): void {
    if (this.over) return;
    count(this.#options.counters.resetsSent, code);
    const buffer = this.out.room(FRAME_HEADER_BYTES + 4);
    this.out.at = writeRstStream(buffer, this.out.at, id, code);
  }

  #remove(stream: Http2Stream, how: "ended" | "reset"): void {
    this.streams.delete(stream.id);
    this.#ready.remove(stream);
    this.#closed.add(stream.id, how);
  }

  // ── the end ──

  /** The peer has broken a rule of the connection (RFC 9113 §5.4.1). */
  protected die(code: number, detail: string): void {
    if (this.over) return;
    this.goaway(this.lastPeerStream, code);
    this.out.flush();
    this.socket.end();
    this.#end(`${errorName(code)}: ${detail}`);
  }

  /** Nothing can be said any more. */
  protected lose(detail: string): void {
    if (this.over) return;
    this.socket.destroy();
    this.#end(detail);
  }

  /** All streams have ended: so does the connection. */
  protected finish(): void {
    if (this.over) return;
    this.out.flush();
    this.socket.end();
    this.#end("ended");
  }

  /** A stream ends with its connection. */
  protected tellLost(stream: Http2Stream, detail: string): void {
    stream.onLost(detail);
  }

  /** The peer will not act on a stream: it is forgotten without a word. */
  protected dropUnseen(stream: Http2Stream): void {
    this.#remove(stream, "reset");
    stream.drop();
  }

  #end(detail: string): void {
    this.over = true;
    this.openBlock = undefined;
    this.#unread = EMPTY;
    this.window.close();
    for (const stream of [...this.streams.values()]) {
      this.#remove(stream, "ended");
      stream.drop();
      this.tellLost(stream, detail);
    }
    this.onOver(detail);
  }
}

/** Whoever reads gives back more than that at a time, if it has taken as much. */
const SMALL_INCREMENT = 1_024;
