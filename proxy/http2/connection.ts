import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { Http1Limits } from "#proxy/http1/limits.ts";
import { beginWork, endWork } from "#proxy/http1/work.ts";
import { ClosedStreams } from "#proxy/http2/closed_streams.ts";
import { DataInProgress } from "#proxy/http2/data_in_progress.ts";
import { type Flood, FloodGuard } from "#proxy/http2/flood_guard.ts";
import { FrameWriter } from "#proxy/http2/frame_writer.ts";
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
  uint31,
  uint32,
  WINDOW_MAX,
} from "#proxy/http2/frames.ts";
import { type DecodeVerdict, HeaderBlock, HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { count, type Http2Counters } from "#proxy/http2/http2_counters.ts";
import { OpenBlock } from "#proxy/http2/open_block.ts";
import { PeerSettings } from "#proxy/http2/peer_settings.ts";
import { ReceiveWindow, WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";
import type { Http2Stream, StreamCarrier } from "#proxy/http2/stream.ts";

const EMPTY = Buffer.alloc(0);
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

/** One per process is enough: a block is handed on before the next is decoded. */
const decoded = new HeaderBlock();

/**
 * An HTTP/2 connection (RFC 9113), of either role: reads frames in place, keeps the windows and the settings of
 * both sides, and shares the way out among the streams that wait. What a header block means is for the role to say.
 */
export abstract class Http2Connection extends WheelItem implements StreamCarrier {
  readonly frames: FrameWriter;
  readonly window = new ReceiveWindow();
  protected readonly socket: Socket;
  protected readonly streams = new Map<number, Http2Stream>();
  protected readonly peerSettings = new PeerSettings();
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
  #receiveLeft = WINDOW_DEFAULT;
  /** Bytes that came and were not taken yet. */
  #held = 0;
  /** The part of a frame that is not complete. */
  #unread: Buffer = EMPTY;
  readonly #data = new DataInProgress((bytes) => this.consumed(bytes));
  #sampledAt: Millis = 0;
  readonly #now = (): Millis => this.#options.clock.now();

  constructor(socket: Socket, options: ConnectionOptions, isServer: boolean) {
    super();
    this.socket = socket;
    this.#options = options;
    this.#isServer = isServer;
    this.frames = new FrameWriter(socket);
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

  /** What the first window update of a connection gives. */
  protected openWindow(): number {
    const more = this.window.connection - this.#receiveLeft;
    this.#receiveLeft = this.window.connection;
    return more;
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
      if (this.#data.active) {
        at = this.#data.read(buffer, at);
        if (this.#data.active || this.over) return at;
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
      if (!this.peerSettings.settled && type !== FrameType.SETTINGS) {
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
      } else this.#begin(buffer.subarray(from, to), id, endStream);
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

  #begin(part: Buffer, id: number, endStream: boolean): void {
    this.openBlock = new OpenBlock(id, endStream);
    this.openBlock.add(part, this.#options.limits.headBytesMax);
    this.#options.wheel.arm(this, this.#options.limits.headTimeoutMs);
  }

  #continue(part: Buffer, flags: number): void {
    const open = this.openBlock!;
    if (part.length === 0 && !this.flood("empty_block")) return;
    // Nothing that we would take is that large, packed as it is.
    if (!open.add(part, this.#options.limits.headBytesMax)) {
      this.die(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end");
      return;
    }
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.openBlock = undefined;
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
    this.#data.begin(stream, content, padding, endStream);
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

  consumed(bytes: number): void {
    this.#held -= bytes;
    const { connection } = this.window;
    const held = Math.max(0, this.#held - this.#options.heldBytesMax);
    const due = connection - held - this.#receiveLeft;
    if (due * 2 < connection || this.over) return;
    this.#receiveLeft += due;
    this.frames.windowUpdate(0, due);
    this.#startSample();
  }

  grant(stream: Http2Stream, increment: number): void {
    if (this.over || !this.streams.has(stream.id)) return;
    this.frames.windowUpdate(stream.id, increment);
    this.#startSample();
  }

  #startSample(): void {
    const now = this.#options.clock.now();
    if (!this.window.startSample(now)) return;
    this.#sampledAt = now;
    this.frames.ping(SAMPLE_PING, 0, false);
  }

  // ── control ──

  #onWindowUpdate(id: number, increment: number): void {
    if (increment < SMALL_INCREMENT && !this.flood("window_update")) return;
    if (id === 0) {
      this.frames.sendWindow += increment;
      if (this.frames.sendWindow > WINDOW_MAX) {
        this.die(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31 - 1");
      } else this.frames.pump();
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
    this.frames.pump();
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
    const peer = this.peerSettings;
    if (peer.settled && !this.flood("settings")) return;
    const before = peer.streamWindow;
    peer.read(buffer, from, to, this.frames.encoder);
    if (!this.#changeWindows(peer.streamWindow - before)) return;
    this.frames.settingsAck();
    this.#boundUnsent();
    this.onSettings();
    this.frames.pump();
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
      this.frames.ping(buffer, at, true);
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

  /** `onDrainPing` is called when the peer has seen all that was said before. */
  protected askDrained(): void {
    this.frames.ping(DRAIN_PING, 0, false);
  }

  protected goaway(last: number, code: number): void {
    this.frames.goaway(last, code);
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

  protected onSocketDrain(): void {
    beginWork();
    this.frames.pump();
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
    this.frames.reset(id, code);
  }

  #remove(stream: Http2Stream, how: "ended" | "reset"): void {
    this.streams.delete(stream.id);
    this.frames.forget(stream);
    this.#closed.add(stream.id, how);
  }

  // ── the end ──

  /** The peer has broken a rule of the connection (RFC 9113 §5.4.1). */
  protected die(code: number, detail: string): void {
    if (this.over) return;
    this.goaway(this.lastPeerStream, code);
    this.frames.out.flush();
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
    this.frames.out.flush();
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
