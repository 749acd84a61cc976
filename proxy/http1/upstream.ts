import type { Socket } from "node:net";
import type { Linked } from "#kernel/linked_list.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import {
  type AnswerHead,
  type AnswerSink,
  BODY_UNKNOWN,
  type Fields,
  opensTunnel,
  type RequestHead,
  type Stage,
  type UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { BodyDecoder } from "#proxy/http1/parser_body.ts";
import { isStray } from "#proxy/http1/parser_fields.ts";
import {
  isFailure,
  type ParsedAnswer,
  parseAnswer,
  UNTIL_CLOSE,
} from "#proxy/http1/parser_head.ts";
import { requestText } from "#proxy/http1/serializer.ts";
import { isWebSocket, provesKey, webSocketKey } from "#proxy/http1/websocket.ts";
import { WriteQueue } from "#proxy/http1/write_queue.ts";
import { isHeld, READ_BYTES, type ReadInto, replaceHeld } from "#proxy/socket/held_buffers.ts";
import { headText } from "#proxy/socket/latin1.ts";
import { reset } from "#proxy/socket/reset.ts";
import { beginWork, endWork } from "#proxy/socket/work.ts";
import { errorDetail, lateRefusal, openingFailure } from "#proxy/upstream/opening_failure.ts";
import {
  type CloseReason,
  isConnectFailure,
  type UpstreamCounters,
} from "#proxy/upstream/upstream_counters.ts";

const EMPTY = Buffer.alloc(0);

/** `tunnel`: the endpoint has switched to another protocol; the connection is not used again. */
type Phase = "connecting" | "idle" | "head" | "body" | "tunnel" | "closed";

/** What a connection tells the pool that owns it. */
export interface ConnectionOwner {
  /** It can carry another request. Called before the running one's `onAnswerEnd`. */
  onIdle(connection: UpstreamConnection): void;
  /** An idle connection turned out dead when a request was sent on it. Called before `onClosed`. */
  onStale(): void;
  onClosed(connection: UpstreamConnection): void;
  /** How long a connection may be idle from now. */
  readonly idleTimeoutMs: number;
}

export interface UpstreamOptions {
  /** Starts to connect. @param onread to be handed to `net.connect` or `tls.connect`. */
  readonly dial: (onread: ReadInto) => Socket;
  /** Event after which requests may flow: `connect`, or `secureConnect` of a TLS socket. */
  readonly readyEvent: "connect" | "secureConnect";
  readonly owner: ConnectionOwner;
  readonly wheel: TimerWheel;
  readonly limits: ConnectionLimits;
  readonly connectTimeoutMs: number;
  readonly counters: UpstreamCounters;
}

/**
 * One connection to an endpoint. It is itself the stream of the request that it carries: one at a time,
 * never pipelined. On the wheel it waits for its connect and for its end as an idle one.
 */
export class UpstreamConnection
  extends WheelItem
  implements UpstreamStream, Linked<UpstreamConnection>
{
  listPrev: UpstreamConnection | undefined = undefined;
  listNext: UpstreamConnection | undefined = undefined;
  isListed = false;
  /** Requests that it has been given. */
  requests = 0;
  readonly #options: UpstreamOptions;
  readonly #socket: Socket;
  readonly #out: WriteQueue;
  readonly #body: BodyDecoder;
  /** Pages of it that no answer reaches are never touched. */
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #phase: Phase = "connecting";
  #ready = false;
  #sink: AnswerSink | undefined = undefined;
  #method = "";
  /** What the request asks to switch to. */
  #upgrade: string | undefined = undefined;
  /** The nonce of its WebSocket. */
  #socketKey: string | undefined = undefined;
  #chunked = false;
  /** The request has left us whole. */
  #sent = true;
  #keepAlive = true;
  /** Carried a request before this one. */
  #reused = false;
  /** Why it ends with the running request; undefined: it does not. */
  #retiring: CloseReason | undefined = undefined;
  /** A byte of the running answer has come. */
  #answering = false;
  /** Interim answers to the running request. */
  #interims = 0;
  /** Bytes of a head that has begun and is not complete; they have been judged. */
  #headSeen = 0;
  /** Some servers do not read the body of such a request: it would be their next one. Not used again. */
  #once = false;
  /** Bytes read and not consumed: a head that is not complete, or a body that nobody takes now. */
  #unread: Buffer = EMPTY;
  #paused = false;
  /** The endpoint has ended its side. */
  #ended = false;

  constructor(options: UpstreamOptions) {
    super();
    this.#options = options;
    this.#body = new BodyDecoder(options.limits);
    const socket = options.dial({
      buffer: () => this.#freshBuffer(),
      callback: (bytes) => this.#onRead(bytes),
    });
    this.#socket = socket;
    this.#out = new WriteQueue(socket);
    socket.once(options.readyEvent, () => this.#onReady());
    socket.on("drain", () => {
      this.#out.drained();
      this.#sink?.onRequestDrain();
    });
    socket.on("end", () => this.#onEnd());
    socket.on("error", (error: NodeJS.ErrnoException) => this.#onError(error));
    socket.on("close", () => this.#lost("closed"));
    options.wheel.arm(this, options.connectTimeoutMs);
  }

  /** Sends a request; only to a connection that is new or idle. */
  begin(head: RequestHead, sink: AnswerSink): void {
    if (this.#phase === "idle") this.#phase = "head";
    this.#sink = sink;
    this.#method = head.method;
    this.#upgrade = head.upgrade;
    this.#socketKey = head.upgrade === undefined ? undefined : webSocketKey(head.fields);
    this.#chunked = head.body === BODY_UNKNOWN;
    this.#sent = head.body === 0;
    this.#answering = false;
    this.requests++;
    this.#interims = 0;
    this.#headSeen = 0;
    this.#once = head.body !== 0 && (head.method === "GET" || head.method === "HEAD");
    // TLS says too late what it could not write.
    this.#out.unsent = this.#reused && this.#options.readyEvent === "connect";
    const text = requestText(head);
    // With a body the head waits for its beginning, to leave with it.
    if (this.#sent) this.#out.now(text);
    else this.#out.text(text);
  }

  // ── UpstreamStream ──

  get stage(): Stage {
    return this.#ready ? "begun" : "connects";
  }

  sendBody(chunk: Buffer): boolean {
    return this.#out.body(chunk, this.#chunked);
  }

  sendEnd(trailers: Fields | undefined): void {
    this.#sent = true;
    if (this.#phase === "tunnel") {
      this.#out.flush();
      if (this.#ended) this.#close("tunnel");
      else this.#socket.end();
      return;
    }
    this.#out.end(this.#chunked, trailers);
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const unread = this.#unread;
    this.#unread = EMPTY;
    this.#consume(unread);
    if (this.#ended && !this.#paused && this.#phase !== "closed") this.#onEnd();
    if (!this.#paused && this.#phase !== "closed") this.#socket.resume();
  }

  cancel(): void {
    if (this.#sink === undefined) return;
    this.#sink = undefined;
    if (this.#phase === "tunnel") reset(this.#socket);
    this.#close("cancelled");
  }

  // ── for the pool ──

  /** It has been open once: a request on it may have left. */
  get isReady(): boolean {
    return this.#ready;
  }

  /** Fails the running request, if any, and closes. */
  fail(reason: Failure, why: CloseReason = "error"): void {
    const sink = this.#sink;
    this.#sink = undefined;
    if (!this.#ready && isConnectFailure(reason.kind)) {
      this.#options.counters.connectFailures[reason.kind]++;
    }
    this.#close(why);
    sink?.onFailure(reason);
  }

  /** Takes no further request: closes now if idle, else after the running one. */
  retire(why: CloseReason): void {
    if (this.#phase === "idle") this.#close(why);
    else this.#retiring ??= why;
  }

  /** Too long in connecting, or idle. Otherwise it was armed for an earlier state: nothing to do. */
  override onTimeout(): void {
    const { connectTimeoutMs } = this.#options;
    if (!this.#ready) this.fail(failure("connect_timeout", `${connectTimeoutMs} ms`));
    else if (this.#phase === "idle") this.#close("idle");
  }

  // ── the socket ──

  #onReady(): void {
    if (this.#phase === "closed") return;
    this.#ready = true;
    this.#options.counters.opened++;
    this.#phase = this.#sink === undefined ? "idle" : "head";
  }

  /** After each read: another buffer if somebody still needs what is in this one. */
  #freshBuffer(): Uint8Array {
    if (isHeld(this.#buffer)) this.#buffer = replaceHeld(this.#buffer);
    return this.#buffer;
  }

  #onRead(bytes: number): boolean {
    beginWork();
    try {
      return this.#take(bytes);
    } finally {
      endWork();
    }
  }

  /** False: reading is to stop. */
  #take(bytes: number): boolean {
    const chunk = this.#buffer.subarray(0, bytes);
    if (this.#phase === "idle" || this.#sink === undefined) {
      // Nobody asked: whatever it says could be taken for the next answer.
      this.#close("stale");
      return false;
    }
    this.#answering = true;
    const joined = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    if (this.#paused) {
      // TLS hands on what it has deciphered already, although nobody reads any more.
      this.#unread = joined === chunk ? Buffer.from(chunk) : joined;
      return false;
    }
    this.#unread = EMPTY;
    this.#consume(joined);
    return !this.#paused;
  }

  #consume(buffer: Buffer): void {
    let at = 0;
    while (this.#phase === "head") {
      at = this.#readHead(buffer, at);
      if (at < 0) return;
    }
    if (this.#phase === "body") this.#readBody(buffer, at);
    else if (this.#phase === "tunnel" && at < buffer.length) this.#readTunnel(buffer.subarray(at));
  }

  /** Where the head ended; -1 if there is no more to read now. */
  #readHead(buffer: Buffer, from: number): number {
    const { limits } = this.#options;
    const text = headText(buffer, from, limits.headBytesMax + 4);
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) {
      if (text.length > limits.headBytesMax + 3) this.fail(failure("bad_answer", "head too large"));
      else if (isNoAnswer(text, this.#headSeen)) this.fail(failure("bad_answer", "no HTTP/1"));
      else this.#unread = Buffer.from(buffer.subarray(from));
      this.#headSeen = text.length;
      return -1;
    }
    this.#headSeen = 0;
    const answer = parseAnswer(text.slice(0, end), this.#method, limits);
    if (isFailure(answer)) {
      this.fail(answer);
      return -1;
    }
    const next = from + end + 4;
    if (answer.head.status >= 200) return this.#onHead(answer) ? next : -1;
    if (answer.head.status === 101) return this.#onSwitch(answer.head) ? next : -1;
    if (++this.#interims > limits.interimMax) {
      this.fail(failure("bad_answer", `over ${limits.interimMax} interim answers`));
      return -1;
    }
    this.#sink!.onInterim(answer.head.status, answer.head.fields);
    return this.#sink === undefined ? -1 : next;
  }

  /** False if the sink let go of the stream. */
  #onHead(answer: ParsedAnswer): boolean {
    const { head } = answer;
    if (opensTunnel(this.#method, head.status)) return this.#onTunnel(head);
    this.#keepAlive = answer.keepAlive && !this.#once;
    this.#body.begin(head.body);
    this.#phase = "body";
    if (head.body === UNTIL_CLOSE) head.body = BODY_UNKNOWN;
    this.#sink!.onAnswer(head);
    return this.#sink !== undefined;
  }

  /** Only who was asked may switch, and has to say to what. */
  #onSwitch(head: AnswerHead): boolean {
    if (!isAsked(head.upgrade, this.#upgrade)) {
      this.fail(failure("bad_answer", "101 unasked"));
      return false;
    }
    // A client of HTTP/2 has no key that it could check itself.
    const key = isWebSocket(head.upgrade) ? this.#socketKey : undefined;
    if (key !== undefined && !provesKey(head.fields, key)) {
      this.fail(failure("bad_answer", "Sec-WebSocket-Accept"));
      return false;
    }
    return this.#onTunnel(head);
  }

  #onTunnel(head: AnswerHead): boolean {
    this.#phase = "tunnel";
    this.#keepAlive = false;
    this.#sent = false;
    head.body = BODY_UNKNOWN;
    this.#sink!.onAnswer(head);
    return this.#sink !== undefined;
  }

  /** The endpoint says no more; the other direction may go on. */
  #endTunnel(): void {
    const sink = this.#sink;
    if (this.#sent) {
      this.#sink = undefined;
      this.#close("tunnel");
    }
    sink?.onAnswerEnd(undefined);
  }

  #readTunnel(chunk: Buffer): void {
    const wantsMore = this.#sink!.onAnswerBody(chunk);
    if (wantsMore || this.#sink === undefined) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #readBody(buffer: Buffer, from: number): void {
    const body = this.#body;
    body.at = from;
    for (;;) {
      const step = body.step(buffer);
      if (step === "data") {
        const wantsMore = this.#sink!.onAnswerBody(body.data);
        if (this.#sink === undefined) return;
        if (wantsMore) continue;
        this.#paused = true;
        this.#socket.pause();
        // TLS may write into the read buffer once more: what is left in it must move.
        this.#unread = Buffer.from(buffer.subarray(body.at));
        return;
      }
      if (step === "end") this.#finish(buffer.length > body.at);
      else if (step === "bad") this.fail(failure("answer_truncated", "bad chunk"));
      return;
    }
  }

  #finish(strayBytes: boolean): void {
    const sink = this.#sink!;
    this.#sink = undefined;
    // Who was asked to switch may still take what comes next for the other protocol.
    const clean = this.#sent && !strayBytes && this.#upgrade === undefined;
    const reusable = this.#keepAlive && clean;
    if (reusable && this.#retiring === undefined) {
      const { owner, wheel } = this.#options;
      this.#phase = "idle";
      this.#reused = true;
      wheel.arm(this, owner.idleTimeoutMs);
      owner.onIdle(this);
    } else this.#close(reusable ? this.#retiring! : strayBytes ? "error" : "endpoint");
    sink.onAnswerEnd(this.#body.trailers);
  }

  #onEnd(): void {
    this.#ended = true;
    // Writes have failed before: this end may be a reset.
    if (this.#socket.errored !== null && this.#phase !== "head") {
      this.#lost("reset");
      return;
    }
    if (this.#phase === "tunnel") {
      if (!this.#paused) this.#endTunnel();
      return;
    }
    // What was read before comes first, whenever it is asked for.
    if (this.#phase === "body" && this.#paused) return;
    if (this.#phase === "body" && this.#body.endsWithConnection) {
      this.#keepAlive = false;
      this.#finish(false);
    } else this.#lost("ended");
  }

  #onError(error: NodeJS.ErrnoException): void {
    const detail = errorDetail(error);
    if (!this.#ready) {
      this.fail(openingFailure(detail, this.#options.readyEvent === "secureConnect"));
      return;
    }
    const refusal = this.#reused || this.#answering ? undefined : lateRefusal(detail);
    if (refusal !== undefined) this.fail(refusal);
    else this.#lost(detail);
  }

  #lost(detail: string): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "body" || this.#phase === "tunnel") {
      this.fail(failure("answer_truncated", detail));
    } else if (!this.#ready) this.fail(failure("connect_refused", detail));
    else if (this.#phase === "idle") this.#close("stale");
    else if (this.#reused && !this.#answering) {
      this.#options.owner.onStale();
      const kind = this.#out.unsent ? "not_sent" : "stale_connection";
      this.fail(failure(kind, detail), "stale");
    } else this.fail(failure("closed_early", detail));
  }

  #close(why: CloseReason): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    if (this.#ready) this.#options.counters.closed[why]++;
    this.#unread = EMPTY;
    this.#options.wheel.disarm(this);
    this.#socket.destroy();
    this.#options.owner.onClosed(this);
  }
}

/** True of a head that has begun and can only become an error: who waits for it would wait in vain. */
function isNoAnswer(text: string, seen: number): boolean {
  return !"HTTP/1.".startsWith(text.slice(0, 7)) || isStray(text, seen);
}

/** True if all of `switched` is among what was `asked` for (RFC 9110 §7.8). */
function isAsked(switched: string | undefined, asked: string | undefined): boolean {
  if (switched === undefined || asked === undefined) return false;
  const offers = protocolsOf(asked);
  return protocolsOf(switched).every((protocol) => offers.includes(protocol));
}

function protocolsOf(list: string): string[] {
  return list.toLowerCase().split(/[\t ]*,[\t ]*/);
}
