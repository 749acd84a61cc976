import type { Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import { BODY_UNKNOWN, type ClientPolicy, type Handler } from "#proxy/exchange/exchange.ts";
import { DRAINED, type Failure, failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/exchange/http_date.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { Http2Connection, OF_PROXY, OF_STRANGER } from "#proxy/http2/connection.ts";
import { isRefused, readRequest, readTrailers } from "#proxy/http2/fields.ts";
import { ErrorCode, PREFACE, Setting, WINDOW_MAX } from "#proxy/http2/frames.ts";
import type { DecodeVerdict, HeaderBlock } from "#proxy/http2/hpack_decoder.ts";
import type { Http2Counters } from "#proxy/http2/http2_counters.ts";
import { type ServerCarrier, ServerStream } from "#proxy/http2/server_stream.ts";
import type { Admitted } from "#proxy/listen/server_tls.ts";
import { type ChunkReader, RecycledReads, recycleTls } from "#proxy/socket/recycled_socket.ts";

/** Streams that a client may have open at a time (SETTINGS_MAX_CONCURRENT_STREAMS). */
export const STREAMS_MAX = 256;
/** How long a drained connection waits to hear that the client knows. */
const DRAIN_PING_MS: Millis = 1_000;

/** How often it is looked at within the shortest time limit. */
const TICKS_PER_LIMIT = 4;
/** So much may wait for a client before nothing more is read of it: answers without a body have no window. */
const PAUSE_BYTES = 262_144;
const NOTHING = Buffer.alloc(0);
/** A connection that we have ended is still read for so long, so that the client sees why. */
const LINGER_MS: Millis = 2_000;

export interface Http2DownstreamOptions {
  readonly listener: string;
  readonly secure: boolean;
  readonly handler: Handler;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly date: HttpDate;
  readonly limits: ConnectionLimits;
  readonly policy: ClientPolicy;
  /** The proxy's name in `Proxy-Status` of refusals. */
  readonly self: string;
  readonly counters: Http2Counters;
  /** @param known somebody above has had the request, and has recorded its end. */
  readonly onRefused: (reason: Failure, peer: Peer, known: boolean) => void;
  readonly onClosed: (connection: Http2Downstream) => void;
}

/** One client's HTTP/2 connection: each of its streams is an Exchange. */
export class Http2Downstream extends Http2Connection implements ServerCarrier, ChunkReader {
  readonly peer: Peer;
  readonly servedHosts: string | undefined;
  readonly listener: string;
  readonly secure: boolean;
  readonly policy: ClientPolicy;
  readonly date: HttpDate;
  /** Bodies are handed on in pieces of a frame, which nobody keeps without a copy. */
  readonly passesOn = false;
  readonly #options: Http2DownstreamOptions;
  readonly #reads = new RecycledReads(this);
  #prefaceSeen = 0;
  /** The last stream that was acted on; and those behind it, that came when none was taken any more. */
  #lastStream = 0;
  #lastSeen = 0;
  #requests = 0;
  /** `asked`: the client is told, and may have made streams meanwhile. `told`: no stream is taken any more. */
  #drain: "no" | "asked" | "told" = "no";
  /** Since its last stream ended, or since it began. */
  #idleMs: Millis = 0;
  /** For how long the same frame or header block has not come to its end; so with the preface and first settings. */
  #headMs: Millis = 0;
  #headUnit = 0;
  #wasInside = true;
  /** For how long the client has taken nothing of what waits for it. */
  #untakenMs: Millis = 0;
  #taken = 0;
  /** Nothing is read of it until it has taken what it has asked for. */
  #isPaused = false;
  readonly #tickMs: Millis;

  /** @param isFed somebody else has begun to read of the socket, and hands on what comes. */
  constructor(
    socket: Socket,
    { peer, servedHosts }: Admitted,
    options: Http2DownstreamOptions,
    isFed: boolean,
  ) {
    super(socket, { ...options, ...(peer.kind === "anonymous" ? OF_STRANGER : OF_PROXY) }, true);
    this.#options = options;
    this.peer = peer;
    this.servedHosts = servedHosts;
    this.listener = options.listener;
    this.secure = options.secure;
    this.policy = options.policy;
    this.date = options.date;
    if (!isFed && !recycleTls(socket, this.#reads)) {
      socket.on("data", (chunk: Buffer) => this.onChunk(chunk));
    }
    socket.on("drain", () => this.#onDrain());
    socket.on("end", () => this.finish("the client has closed"));
    socket.on("error", () => {});
    socket.on("close", () => this.#onClose());
    const { headTimeoutMs, idleTimeoutMs, bodyTimeoutMs } = options.limits;
    this.#tickMs = Math.min(headTimeoutMs, idleTimeoutMs, bodyTimeoutMs) / TICKS_PER_LIMIT;
    options.wheel.arm(this, this.#tickMs);
    this.#greet();
  }

  info() {
    const { bytesRead: bytesIn, bytesWritten: bytesOut } = this.socket;
    const client = this.peer.address;
    const state = this.over ? "over" : this.streams.size === 0 ? "idle" : "streams";
    return { listener: this.listener, client, state, requests: this.#requests, bytesIn, bytesOut };
  }

  /** Takes no further request, once the client can know; ends with the last running one (RFC 9113 §6.8). */
  drain(): void {
    if (this.#drain !== "no" || this.over) return;
    this.#drain = "asked";
    this.goaway(WINDOW_MAX, ErrorCode.NO_ERROR);
    this.askDrained();
    this.frames.out.flush();
    this.#options.wheel.arm(this, DRAIN_PING_MS);
  }

  destroy(): void {
    for (const stream of this.streams.all()) (stream as ServerStream).gone(DRAINED);
    this.lose(DRAINED.detail);
  }

  // ── reading ──

  onChunk(chunk: Buffer): void {
    if (this.over) return;
    const seen = this.#prefaceSeen;
    const rest = Math.min(PREFACE.length - seen, chunk.length);
    if (rest > 0 && !chunk.subarray(0, rest).equals(PREFACE.subarray(seen, seen + rest))) {
      this.#options.onRefused(failure("bad_request", "no HTTP/2 preface"), this.peer, false);
      this.die(ErrorCode.PROTOCOL_ERROR, "preface");
      return;
    }
    this.#prefaceSeen += rest;
    if (rest < chunk.length) this.readChunk(rest === 0 ? chunk : chunk.subarray(rest));
    if (this.socket.writableLength < PAUSE_BYTES || this.over) return;
    this.#isPaused = true;
    this.socket.pause();
  }

  #onDrain(): void {
    this.onSocketDrain();
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.socket.resume();
  }

  #greet(): void {
    const { limits } = this.#options;
    const settings = [
      ...[Setting.MAX_CONCURRENT_STREAMS, STREAMS_MAX],
      ...[Setting.MAX_HEADER_LIST_SIZE, limits.headBytesMax],
      ...[Setting.ENABLE_CONNECT_PROTOCOL, 1],
    ];
    this.frames.greet(NOTHING, settings, this.openWindow());
    this.frames.out.flush();
  }

  protected onBlock(
    id: number,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
  ): void {
    const running = this.streams.get(id);
    if (running !== undefined) {
      this.#onTrailers(running as ServerStream, endStream, verdict, block);
      return;
    }
    if (!this.isIdle(id)) {
      this.onLateBlock(id);
      return;
    }
    if ((id & 1) === 0) {
      this.die(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even id");
      return;
    }
    this.#lastSeen = id;
    // It has been told, and may ask somebody else (RFC 9113 §6.8).
    if (this.#drain === "told") {
      this.ignoreStream(id);
      return;
    }
    this.#lastStream = id;
    if (this.streams.size >= STREAMS_MAX) {
      this.refuseStream(id, ErrorCode.REFUSED_STREAM);
      this.flood("stream_error");
      return;
    }
    const { limits, handler } = this.#options;
    const head =
      verdict === "too_large"
        ? failure("head_too_large", "header list")
        : readRequest(block, endStream, limits);
    if (isRefused(head)) {
      this.#refuse(id, endStream, head);
      return;
    }
    head.neverIndexed = block.neverIndexed;
    const stream = new ServerStream(this, id, this.peerSettings.streamWindow, head);
    stream.remoteEnded = endStream;
    this.#requests++;
    this.#idleMs = 0;
    this.add(stream);
    handler.onRequest(stream);
  }

  #onTrailers(
    stream: ServerStream,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
  ): void {
    const { id } = stream;
    if (stream.remoteEnded) {
      this.streamError(id, ErrorCode.STREAM_CLOSED, "HEADERS after its end");
      return;
    }
    const trailers =
      !endStream || verdict === "too_large" || stream.bodyLeft > 0
        ? failure("bad_request", "no trailers")
        : readTrailers(block, "bad_request");
    if (isRefused(trailers)) {
      this.streamError(id, ErrorCode.PROTOCOL_ERROR, trailers.detail);
    } else stream.receiveEnd(trailers);
  }

  /** A request that is not passed on: malformed ones are no requests at all, the others have an answer. */
  #refuse(id: number, endStream: boolean, reason: Failure): void {
    this.#options.onRefused(reason, this.peer, false);
    if (reason.kind === "bad_request") {
      this.streamError(id, ErrorCode.PROTOCOL_ERROR, reason.detail);
      return;
    }
    const none = { method: "", target: "", authority: "", fields: [], upgrade: undefined };
    const head = { ...none, body: BODY_UNKNOWN, takesTrailers: false };
    const stream = new ServerStream(this, id, this.peerSettings.streamWindow, head);
    stream.remoteEnded = endStream;
    this.add(stream);
    stream.refuse(reason, this.#options.self);
  }

  protected override onBroken(stream: ServerStream, _code: number, detail: string): void {
    const reason = failure("bad_request", detail);
    this.#options.onRefused(reason, this.peer, true);
    stream.gone(reason);
  }

  // ── the connection ──

  protected isIdle(id: number): boolean {
    return id > this.#lastSeen || (id & 1) === 0;
  }

  protected get lastPeerStream(): number {
    return this.#lastStream;
  }

  /** The client takes no pushes, of which there are none: its own requests go on. */
  protected onGoaway(): void {
    if (this.streams.size === 0) this.finish();
    else this.drain();
  }

  protected onSettings(): void {}

  protected override onDrainPing(): void {
    if (this.#drain === "asked") this.#tellDrained();
  }

  #tellDrained(): void {
    this.#drain = "told";
    this.goaway(this.#lastStream, ErrorCode.NO_ERROR);
    if (this.streams.size === 0) this.finish();
    else this.#options.wheel.arm(this, this.#tickMs);
  }

  protected onForgotten(): void {
    if (this.streams.size > 0) return;
    this.#idleMs = 0;
    if (this.#drain === "told") this.finish();
  }

  protected onOver(): void {
    this.#options.wheel.disarm(this);
    this.#options.wheel.arm(this, LINGER_MS);
  }

  #onClose(): void {
    this.lose("closed");
    this.#options.wheel.disarm(this);
    this.#reads.release();
    this.#options.onClosed(this);
  }

  // ── time ──

  override onTimeout(): void {
    this.#lookAtTaken(this.over ? LINGER_MS : this.#tickMs);
    if (this.over) this.#linger();
    else if (this.#drain === "asked") this.#tellDrained();
    else {
      this.#lookAtAll();
      if (!this.over) this.#options.wheel.arm(this, this.#tickMs);
    }
  }

  /** Who still takes what was said before the end is not cut short. */
  #linger(): void {
    const isTaking = this.#untakenMs < this.#options.limits.idleTimeoutMs;
    if (this.socket.writableLength > 0 && isTaking) this.#options.wheel.arm(this, LINGER_MS);
    else this.socket.destroy();
  }

  #lookAtTaken(sinceMs: Millis): void {
    const { bytesWritten, writableLength } = this.socket;
    const taken = bytesWritten - writableLength;
    this.#untakenMs = writableLength > 0 && taken === this.#taken ? this.#untakenMs + sinceMs : 0;
    this.#taken = taken;
  }

  #lookAtAll(): void {
    const { limits, onRefused, counters } = this.#options;
    const isInside = this.reader.isInsideUnit || !this.peerSettings.settled;
    const isSame = isInside && this.#wasInside && this.reader.unitsRead === this.#headUnit;
    this.#headMs = isSame ? this.#headMs + this.#tickMs : 0;
    this.#headUnit = this.reader.unitsRead;
    this.#wasInside = isInside;
    if (this.#headMs >= limits.headTimeoutMs) {
      const detail = `no head after ${limits.headTimeoutMs} ms`;
      onRefused(failure("head_timeout", detail), this.peer, false);
      this.die(ErrorCode.NO_ERROR, detail);
    } else if (this.#untakenMs >= limits.idleTimeoutMs) {
      counters.calmed++;
      this.die(ErrorCode.ENHANCE_YOUR_CALM, "it does not read what it asks for");
    } else if (this.streams.size > 0) {
      for (const stream of this.streams.all()) this.#watch(stream as ServerStream);
    } else {
      this.#idleMs += this.#tickMs;
      if (this.#idleMs < limits.idleTimeoutMs) return;
      this.goaway(this.#lastStream, ErrorCode.NO_ERROR);
      this.finish();
    }
  }

  /** A client that neither sends what it has begun nor takes what is there for it is given up. */
  #watch(stream: ServerStream): void {
    const { limits, onRefused, self } = this.#options;
    const waits = stream.isAwaitingBody && !stream.answered;
    if (stream.moved || !(waits || stream.isSending)) {
      stream.moved = false;
      stream.stillMs = 0;
      return;
    }
    stream.stillMs += this.#tickMs;
    if (waits && stream.stillMs >= limits.bodyTimeoutMs) {
      const reason = failure("body_timeout", `${limits.bodyTimeoutMs} ms without a byte`);
      onRefused(reason, this.peer, true);
      stream.gone(reason);
      stream.refuse(reason, self);
    } else if (stream.isSending && stream.stillMs >= limits.idleTimeoutMs) {
      stream.gone(failure("client_closed", `took nothing for ${limits.idleTimeoutMs} ms`));
      this.reset(stream, ErrorCode.CANCEL);
    }
  }
}
