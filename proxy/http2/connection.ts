import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { ClosedStreams } from "#proxy/http2/closed_streams.ts";
import { type Flood, FloodGuard } from "#proxy/http2/flood_guard.ts";
import { FrameReader, type FrameSink } from "#proxy/http2/frame_reader.ts";
import { FrameWriter } from "#proxy/http2/frame_writer.ts";
import {
  ErrorCode,
  errorName,
  Flag,
  FrameType,
  PING_BYTES,
  uint31,
  uint32,
  WINDOW_MAX,
} from "#proxy/http2/frames.ts";
import type { DecodeVerdict, HeaderBlock } from "#proxy/http2/hpack_decoder.ts";
import { count, type Http2Counters } from "#proxy/http2/http2_counters.ts";
import { PeerSettings } from "#proxy/http2/peer_settings.ts";
import { ReceiveWindow, WINDOW_DEFAULT } from "#proxy/http2/receive_window.ts";
import type { Http2Stream, StreamCarrier } from "#proxy/http2/stream.ts";
import { StreamTable } from "#proxy/http2/stream_table.ts";
import { beginWork, endWork } from "#proxy/socket/work.ts";

/** A peer that does not read what it makes us say is let go when so much waits for it, bytes. */
const UNSENT_MAX = 1_048_576;
/** Pings of ours, by what they are for. */
const SAMPLE_PING = Buffer.from("espalier");
const DRAIN_PING = Buffer.from("drained?");
const LIFE_PING = Buffer.from("alive?  ");

/** What is borne of anybody. */
export const OF_STRANGER = { trust: 1, heldBytesMax: 1_048_576 };
/** And of a proxy of the mesh, which carries the requests of many: as of all that it is likely to have behind it. */
export const OF_PROXY = { trust: 30, heldBytesMax: 16_777_216 };

export interface ConnectionOptions {
  readonly wheel: TimerWheel;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly counters: Http2Counters;
  /** How many times as much as of anybody is borne of this peer before it is a flood. */
  readonly trust: number;
  /** Bytes of streams whose readers are slow that may lie here before the other streams have to wait for them. */
  readonly heldBytesMax: number;
}

/**
 * An HTTP/2 connection (RFC 9113), of either role: settings, pings, resets, what the peer may send, and how streams
 * end. What a header block means is for the role to say.
 */
export abstract class Http2Connection extends WheelItem implements StreamCarrier, FrameSink {
  readonly frames: FrameWriter;
  readonly window = new ReceiveWindow();
  protected readonly socket: Socket;
  protected readonly streams = new StreamTable<Http2Stream>();
  protected readonly peerSettings = new PeerSettings();
  over = false;
  protected readonly reader: FrameReader;
  readonly #options: ConnectionOptions;
  readonly #isServer: boolean;
  readonly #guard: FloodGuard;
  readonly #closed = new ClosedStreams();
  #receiveLeft = WINDOW_DEFAULT;
  /** Bytes that came and were not taken yet. */
  #held = 0;
  /** DATA frames that have brought something. */
  #dataFrames = 0;
  readonly #now = (): Millis => this.#options.clock.now();

  constructor(socket: Socket, options: ConnectionOptions, isServer: boolean) {
    super();
    this.socket = socket;
    this.#options = options;
    this.#isServer = isServer;
    this.frames = new FrameWriter(socket);
    this.reader = new FrameReader(this, options.limits, !isServer);
    this.#guard = new FloodGuard(options.clock.now(), options.trust);
  }

  /** A complete header block that is in order. */
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
  protected onDrainPing(): void {}
  /** The peer has answered `askAlive`. */
  protected onAlive(): void {}
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
      this.reader.read(chunk);
    } finally {
      endWork();
    }
  }

  letGo(memory: ArrayBufferLike): void {
    this.reader.letGo(memory);
  }

  onHeaders(
    id: number,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
    streamError: number,
  ): void {
    if (streamError === 0) this.onBlock(id, endStream, verdict, block);
    else this.onBrokenFrame(id, streamError, "HEADERS");
  }

  onEndlessBlock(): void {
    this.#options.counters.calmed++;
    this.die(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end");
  }

  /** A block for a stream that is no more. */
  protected onLateBlock(id: number): void {
    const how = this.#closed.howOf(id);
    // What was on its way when we reset it is no fault.
    if (how === "reset") return;
    if (how === "old") this.streamError(id, ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream");
    else {
      const code = how === "ended" ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR;
      this.die(code, `HEADERS on stream ${id}`);
    }
  }

  // ── DATA ──

  onData(id: number, length: number, content: number, endStream: boolean): Http2Stream | undefined {
    if (length > this.#receiveLeft) {
      this.die(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window");
      return undefined;
    }
    this.#receiveLeft -= length;
    this.#held += length;
    this.window.received(length);
    // Here and not only where it is taken: the bytes of a stalled stream would be missing to all others.
    this.#giveBack();
    if (content > 0) this.#dataFrames++;
    else if (!endStream && !this.flood("empty_data")) return undefined;
    const stream = this.streams.get(id);
    if (stream === undefined) this.#onLateData(id);
    else if (this.#takes(stream, length, content, endStream)) return stream;
    return undefined;
  }

  #onLateData(id: number): void {
    if (this.isIdle(id)) this.die(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream");
    else if (this.#closed.howOf(id) !== "reset") {
      this.streamError(id, ErrorCode.STREAM_CLOSED, "DATA on a closed stream");
    }
  }

  #takes(stream: Http2Stream, length: number, content: number, endStream: boolean): boolean {
    const { id, bodyLeft: left } = stream;
    if (stream.remoteEnded) this.streamError(id, ErrorCode.STREAM_CLOSED, "DATA after its end");
    else if (length > stream.receiveLeft) {
      this.streamError(id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than its window");
    } else if (left >= 0 && (content > left || (endStream && content < left))) {
      this.streamError(id, ErrorCode.PROTOCOL_ERROR, "not as long as it said");
    } else {
      stream.receiveLeft -= length;
      if (left >= 0) stream.bodyLeft = left - content;
      return true;
    }
    return false;
  }

  consumed(bytes: number): void {
    this.#held -= bytes;
    this.#giveBack();
  }

  /** What all streams together may send again, if that is worth a frame. */
  #giveBack(): void {
    const { connection } = this.window;
    const held = Math.max(0, this.#held - this.#options.heldBytesMax);
    const due = connection - held - this.#receiveLeft;
    if (due * 2 < connection || this.over) return;
    this.#receiveLeft += due;
    this.frames.windowUpdate(0, due);
    this.#startSample();
  }

  grant(stream: Http2Stream, increment: number): void {
    if (this.over || this.streams.get(stream.id) !== stream) return;
    this.frames.windowUpdate(stream.id, increment);
    this.#startSample();
  }

  #startSample(): void {
    if (this.window.startSample(this.#options.clock.now())) {
      this.frames.ping(SAMPLE_PING, 0, false);
    }
  }

  // ── control ──

  onBrokenFrame(id: number, code: number, what: string): void {
    if (this.isIdle(id)) this.die(code, `${what} on an idle stream`);
    else this.streamError(id, code, what);
  }

  onControl(
    buffer: Buffer,
    at: number,
    length: number,
    type: number,
    flags: number,
    id: number,
  ): void {
    switch (type) {
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, uint31(buffer, at));
        break;
      case FrameType.RST_STREAM:
        this.#onReset(id, uint32(buffer, at));
        break;
      case FrameType.SETTINGS:
        if ((flags & Flag.ACK) === 0) this.#onSettings(buffer, at, at + length);
        break;
      case FrameType.PING:
        this.#onPing(buffer, at, (flags & Flag.ACK) !== 0);
        break;
      case FrameType.GOAWAY: {
        const code = uint32(buffer, at + 4);
        count(this.#options.counters.goawaysReceived, code);
        this.onGoaway(uint31(buffer, at), code);
        break;
      }
      case FrameType.PRIORITY:
        this.flood("priority");
        break;
      default:
        this.flood("unknown_frame");
    }
  }

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
      // Of one that we have reset ourselves it costs us no work: both sides may have been done with it at once.
      else this.flood(this.#closed.howOf(id) === "reset" ? "late_reset" : "reset");
      return;
    }
    count(this.#options.counters.resetsReceived, code);
    if (this.#isWhole(stream)) {
      stream.sendNoMore();
      return;
    }
    this.#remove(stream, "ended");
    stream.drop();
    stream.onReset(code, `RST_STREAM ${errorName(code)}`);
    if (this.#isServer) this.flood("reset");
    this.onForgotten();
  }

  /** Its answer is all here, and its reader slow: whatever becomes of the rest, nothing is lost (RFC 9113 §8.1). */
  #isWhole(stream: Http2Stream): boolean {
    return !this.#isServer && stream.remoteEnded;
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
    for (const stream of this.streams.all()) {
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
      if (this.window.sampling) this.window.endSample();
    } else if (opaque.equals(DRAIN_PING)) this.onDrainPing();
    else if (opaque.equals(LIFE_PING)) this.onAlive();
  }

  /** `onAlive` is called when the peer has answered. */
  protected askAlive(): void {
    this.frames.ping(LIFE_PING, 0, false);
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
  flood(kind: Flood): boolean {
    this.#options.counters.floods[kind]++;
    const flow = this.frames.answersDue + this.#dataFrames;
    if (this.#guard.spend(kind, this.#now, flow)) return true;
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
    this.streams.add(stream);
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
      // Its answer had come whole: an exchange like any other.
      if (this.#isWhole(stream)) this.earn();
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
      this.onBroken(stream, code, detail);
    }
    this.flood("stream_error");
    if (stream !== undefined) this.onForgotten();
  }

  /** The peer has broken a rule of a stream that was running. */
  protected onBroken(stream: Http2Stream, code: number, detail: string): void {
    stream.onReset(code, detail);
  }

  /** A stream that is refused before it is one. */
  protected refuseStream(id: number, code: number): void {
    this.#writeReset(id, code);
    this.#closed.add(id, "reset");
  }

  /** Whatever comes on it is read past. */
  protected ignoreStream(id: number): void {
    this.#closed.add(id, "reset");
  }

  #writeReset(id: number, code: number): void {
    if (this.over) return;
    count(this.#options.counters.resetsSent, code);
    this.frames.reset(id, code);
  }

  #remove(stream: Http2Stream, how: "ended" | "reset"): void {
    this.streams.delete(stream);
    this.frames.forget(stream);
    this.#closed.add(stream.id, how);
  }

  // ── the end ──

  /** The peer has broken a rule of the connection (RFC 9113 §5.4.1). */
  die(code: number, detail: string): void {
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

  /** Ends it behind what was said: all streams have ended, or the peer says no more. */
  protected finish(detail = "ended"): void {
    if (this.over) return;
    this.frames.out.flush();
    this.socket.end();
    this.#end(detail);
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
    this.reader.close();
    this.window.close();
    for (const stream of this.streams.all()) {
      if (this.#isWhole(stream)) {
        stream.sendNoMore();
        continue;
      }
      this.#remove(stream, "ended");
      stream.drop();
      this.tellLost(stream, detail);
    }
    this.onOver(detail);
  }
}

/** Whoever reads gives back more than that at a time, if it has taken as much. */
const SMALL_INCREMENT = 1_024;
