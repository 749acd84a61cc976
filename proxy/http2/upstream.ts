import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import { Timeout } from "#kernel/timer_wheel.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { ClientStream } from "#proxy/http2/client_stream.ts";
import { type ConnectionOptions, Http2Connection } from "#proxy/http2/connection.ts";
import { ErrorCode, PREFACE, Setting } from "#proxy/http2/frames.ts";
import type { DecodeVerdict, HeaderBlock } from "#proxy/http2/hpack_decoder.ts";
import type { Http2Stream } from "#proxy/http2/stream.ts";
import { type ReadInto, SHARED_READ } from "#proxy/socket/held_buffers.ts";
import { errorDetail, lateRefusal, openingFailure } from "#proxy/upstream/opening_failure.ts";
import {
  type CloseReason,
  isConnectFailure,
  type UpstreamCounters,
} from "#proxy/upstream/upstream_counters.ts";

/** What is assumed until the endpoint's settings are here (RFC 9113 §6.5.2 recommends no less). */
const STREAMS_UNTIL_SETTLED = 100;
/** An endpoint that takes none of what we said last is not waited for any longer. */
const LINGER_MS: Millis = 2_000;
/**
 * Doubts in a connection between two answers, and how long there is no other after them: servers of gRPC end a
 * connection with all that runs on it after two pings too many, within five minutes and without an answer of theirs.
 */
const DOUBTS_MAX = 3;
const DOUBT_AGAIN_MS: Millis = 310_000;
/** Ids end there; long before, the pool takes another connection. */
const LAST_ID = 0x7fff_fffe;

/** What a connection tells the pool that owns it. */
export interface Http2Owner {
  /** A stream has ended, or more are allowed now: another request may have room. */
  onRoom(connection: Http2Upstream): void;
  /** It takes no further request. */
  onClosing(connection: Http2Upstream): void;
  onClosed(connection: Http2Upstream): void;
  /** How long a connection may be idle from now. */
  readonly idleTimeoutMs: Millis;
}

export interface Http2UpstreamOptions extends ConnectionOptions {
  readonly endpoint: Endpoint;
  /** Starts to connect. @param onread to be handed to `net.connect` or `tls.connect`. */
  readonly dial: (onread: ReadInto) => Socket;
  /** Event after which requests may flow: `connect`, or `secureConnect` of a TLS socket. */
  readonly readyEvent: "connect" | "secureConnect";
  readonly owner: Http2Owner;
  readonly connectTimeoutMs: Millis;
  readonly upstreamCounters: UpstreamCounters;
}

/** One connection to an endpoint: many requests at a time. */
export class Http2Upstream extends Http2Connection {
  /** Requests that it has been given. */
  requests = 0;
  readonly #options: Http2UpstreamOptions;
  /** Pings that were due since it last answered one. */
  silentPings = 0;
  #pinged: ((rttMs: Millis | undefined) => void) | undefined = undefined;
  #pingedAt: Millis = 0;
  #ready = false;
  #nextId = 1;
  /** Since the stream of this id, nothing at all has come. */
  #unheardFrom = 1;
  #doubtsLeft = DOUBTS_MAX;
  /** Armed while the connection is in doubt. */
  readonly #silence = new Timeout(() => this.#onSilence());
  /** Half of the time that it has to say something is over. */
  #isLate = false;
  /** Why it takes no further request; undefined: it does. */
  #closing: CloseReason | undefined = undefined;
  /** What its streams fail with when it is ended from here. */
  #lostBy: Failure | undefined = undefined;

  constructor(options: Http2UpstreamOptions) {
    const holder: { connection?: Http2Upstream } = {};
    const socket = options.dial({
      buffer: () => SHARED_READ,
      callback: (bytes) => {
        holder.connection!.onChunk(SHARED_READ.subarray(0, bytes));
        return true;
      },
    });
    super(socket, options, false);
    holder.connection = this;
    this.#options = options;
    socket.once(options.readyEvent, () => this.#onReady());
    socket.on("drain", () => this.onSocketDrain());
    socket.on("end", () => this.lose("the endpoint has closed"));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#onError(error));
    socket.on("close", () => this.lose("closed"));
    options.wheel.arm(this, options.connectTimeoutMs);
    this.#greet();
  }

  /** Requests that it may be given now. */
  get room(): number {
    if (this.isClosing) return 0;
    const most = this.peerSettings.settled ? this.peerSettings.streamsMax : STREAMS_UNTIL_SETTLED;
    return Math.max(0, most - this.streams.size);
  }

  /** The endpoint wants no requests at present (SETTINGS_MAX_CONCURRENT_STREAMS 0). */
  get allowsNone(): boolean {
    return !this.isClosing && this.peerSettings.settled && this.peerSettings.streamsMax === 0;
  }

  /** Requests that are running. */
  get running(): number {
    return this.streams.size;
  }

  /** Something waits to be written at the end of this turn. */
  get isWriting(): boolean {
    return this.frames.out.at > 0;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  get endpoint(): Endpoint {
    return this.#options.endpoint;
  }

  /** It takes requests, or will once it is open; it has not said yet how many. */
  get isOpening(): boolean {
    return !this.peerSettings.settled && !this.isClosing;
  }

  /** It takes no further request: what runs on it ends in peace, or has ended. */
  get isClosing(): boolean {
    return this.#closing !== undefined || this.over;
  }

  /** It has said that it can switch to other protocols (RFC 8441). */
  get takesUpgrades(): boolean {
    return this.peerSettings.takesConnect;
  }

  /** Whether it can be given this request now: who asks to switch protocols waits for the endpoint's settings. */
  mayCarry({ upgrade }: RequestHead): boolean {
    return upgrade === undefined || this.peerSettings.settled;
  }

  /** Sends a request; only if there is room. */
  begin(asked: RequestHead, sink: AnswerSink): UpstreamStream {
    const head = this.#headFor(asked);
    const id = this.#nextId;
    this.#nextId += 2;
    this.requests++;
    const { interimMax } = this.#options.limits;
    const stream = new ClientStream(this, id, this.peerSettings.streamWindow, {
      head,
      sink,
      interimMax,
    });
    this.add(stream);
    this.frames.request(stream, head, this.#options.readyEvent === "connect" ? "http" : "https");
    // Patched into the frame of the head: nothing has left yet.
    if (head.body === 0 && head.upgrade === undefined && head.method !== "CONNECT") {
      stream.sendEnd(undefined);
    }
    if (this.#nextId > LAST_ID) this.retire("requests");
    return stream;
  }

  /** RFC 9110 §7.8: a proxy passes on what it cannot switch to as if nobody had asked. */
  #headFor(head: RequestHead): RequestHead {
    if (head.upgrade === undefined || this.peerSettings.takesConnect) return head;
    return { ...head, upgrade: undefined };
  }

  // ── for the pool ──

  /** Fails all that runs, and closes. */
  fail(reason: Failure, why: CloseReason = "error"): void {
    if (this.over) return;
    if (!this.#ready && isConnectFailure(reason.kind)) {
      this.#options.upstreamCounters.connectFailures[reason.kind]++;
    }
    this.#lostBy = reason;
    this.#closing = why;
    this.lose(reason.detail);
  }

  /**
   * Asks the endpoint for a sign of life; one that it has not answered yet goes on.
   * @param done told of the round trip, ms; undefined: the connection has ended, or another ping has begun.
   */
  ping(done: (rttMs: Millis | undefined) => void): void {
    const before = this.#pinged;
    this.#pinged = this.over ? undefined : done;
    if (this.over) process.nextTick(done, undefined);
    else if (before !== undefined) this.silentPings++;
    else if (this.#ready) this.#askAlive();
    before?.(undefined);
  }

  #askAlive(): void {
    this.#pingedAt = this.#options.clock.now();
    this.askAlive();
  }

  /** Takes no further request: closes now if idle, else after the last running one. */
  retire(why: CloseReason): void {
    if (this.over) return;
    this.#takeNoMore(why);
    if (this.streams.size === 0) this.#leave();
  }

  #takeNoMore(why: CloseReason): void {
    if (this.#closing !== undefined) return;
    this.#closing = why;
    this.#options.owner.onClosing(this);
  }

  #leave(): void {
    if (this.over) return;
    if (this.#ready) this.goaway(0, ErrorCode.NO_ERROR);
    this.finish();
  }

  // ── doubts: a way that swallows everything says nothing of it ──

  /** A stream that nobody wants any more, because nothing has come since it began: is there anybody? */
  override reset(stream: Http2Stream, code: number): void {
    // Before the reset: servers bear a ping better while something runs.
    const { id } = stream;
    if (id >= this.#unheardFrom && this.streams.get(id) === stream) this.#doubt();
    super.reset(stream, code);
  }

  #doubt(): void {
    if (!this.#ready || this.over || this.#silence.deadlineAt !== 0) return;
    // One that is on its way already does as well.
    if (this.#pinged === undefined) {
      const since = this.#options.clock.now() - this.#pingedAt;
      if (this.#doubtsLeft === 0 && since < DOUBT_AGAIN_MS) return;
      if (this.#doubtsLeft > 0) this.#doubtsLeft--;
      this.ping(NOBODY);
    }
    this.#isLate = false;
    this.#options.wheel.arm(this.#silence, this.#options.connectTimeoutMs / 2);
  }

  #onSilence(): void {
    if (this.#isLate) {
      this.fail(failure("link_down", "it answers no ping"), "link");
      return;
    }
    // In two halves: if it is us who stood still, what has come meanwhile is read between them.
    this.#isLate = true;
    this.#options.wheel.arm(this.#silence, this.#options.connectTimeoutMs / 2);
  }

  // ── the socket ──

  #greet(): void {
    const { limits } = this.#options;
    const settings = [
      ...[Setting.ENABLE_PUSH, 0],
      ...[Setting.MAX_HEADER_LIST_SIZE, limits.headBytesMax],
    ];
    this.frames.greet(PREFACE, settings, this.openWindow());
  }

  onChunk(chunk: Buffer): void {
    this.#unheardFrom = this.#nextId;
    if (this.#silence.deadlineAt !== 0) this.#options.wheel.disarm(this.#silence);
    this.readChunk(chunk);
    this.letGo(SHARED_READ.buffer);
  }

  #onReady(): void {
    if (this.over) return;
    const agreed = this.socket instanceof TLSSocket ? this.socket.alpnProtocol : "h2";
    if (agreed !== "h2") {
      this.fail(failure("tls_failed", "it does not speak HTTP/2"));
      return;
    }
    this.#ready = true;
    if (this.#pinged !== undefined) this.#askAlive();
    this.#options.upstreamCounters.opened++;
    this.#options.wheel.arm(this, this.#options.owner.idleTimeoutMs);
  }

  #onError(error: NodeJS.ErrnoException): void {
    const detail = errorDetail(error);
    if (!this.#ready) {
      this.fail(openingFailure(detail, this.#options.readyEvent === "secureConnect"));
      return;
    }
    // Settings are the first that a server says.
    const refusal = this.peerSettings.settled ? undefined : lateRefusal(detail);
    if (refusal !== undefined) this.fail(refusal);
    else this.lose(detail);
  }

  override onTimeout(): void {
    const { connectTimeoutMs, owner, wheel } = this.#options;
    if (this.over) this.socket.destroy();
    else if (!this.#ready) this.fail(failure("connect_timeout", `${connectTimeoutMs} ms`));
    else if (this.streams.size === 0) this.retire("idle");
    else wheel.arm(this, owner.idleTimeoutMs);
  }

  // ── Http2Connection ──

  protected onBlock(
    id: number,
    endStream: boolean,
    verdict: DecodeVerdict,
    block: HeaderBlock,
  ): void {
    const stream = this.streams.get(id);
    this.#doubtsLeft = DOUBTS_MAX;
    if (stream !== undefined) {
      (stream as ClientStream).onBlock(block, endStream, verdict === "too_large");
    } else if (this.isIdle(id)) this.die(ErrorCode.PROTOCOL_ERROR, "an answer to nothing");
    else this.onLateBlock(id);
  }

  protected isIdle(id: number): boolean {
    return id >= this.#nextId || (id & 1) === 0;
  }

  protected get lastPeerStream(): number {
    return 0;
  }

  protected onGoaway(last: number, code: number): void {
    // First: who is told may try again at once, and not here.
    this.#takeNoMore("endpoint");
    const unseen = this.streams.all().filter(({ id }) => id > last) as ClientStream[];
    for (const stream of unseen) {
      this.dropUnseen(stream);
      stream.onUnprocessed(code);
    }
    if (this.streams.size === 0) this.#leave();
  }

  protected onSettings(): void {
    this.#options.owner.onRoom(this);
  }

  protected override onAlive(): void {
    const done = this.#pinged;
    this.#pinged = undefined;
    this.silentPings = 0;
    done?.(this.#options.clock.now() - this.#pingedAt);
  }

  protected onForgotten(): void {
    if (this.streams.size > 0) {
      if (this.#closing === undefined) this.#options.owner.onRoom(this);
      return;
    }
    if (this.#closing !== undefined) this.#leave();
    else {
      this.#options.wheel.arm(this, this.#options.owner.idleTimeoutMs);
      this.#options.owner.onRoom(this);
    }
  }

  protected override tellLost(stream: ClientStream, detail: string): void {
    const reason = this.#lostBy;
    if (reason !== undefined) stream.fail(reason);
    else if (!this.#ready) stream.fail(failure("connect_refused", detail));
    else stream.onLost(detail);
  }

  protected onOver(): void {
    const { owner, upstreamCounters, wheel } = this.#options;
    wheel.disarm(this);
    wheel.disarm(this.#silence);
    if (this.#ready) upstreamCounters.closed[this.#closing ?? "error"]++;
    // When our last frames have left: nothing is waited for that could still come.
    this.socket.destroySoon();
    if (!this.socket.destroyed) wheel.arm(this, LINGER_MS);
    owner.onClosed(this);
    this.#pinged?.(undefined);
    this.#pinged = undefined;
  }
}

/** Told of a round trip that only has to come to an end. */
const NOBODY = (): void => {};
