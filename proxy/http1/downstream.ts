import type { Socket } from "node:net";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import {
  type AnswerHead,
  type BodySink,
  type ClientPolicy,
  type Exchange,
  type ExchangeObserver,
  type Fields,
  type Handler,
  opensTunnel,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure, failure } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { HeadMemo } from "#proxy/http1/head_memo.ts";
import { SHARED_READ } from "#proxy/http1/held_buffers.ts";
import type { HttpDate } from "#proxy/http1/http_date.ts";
import { headText, latin1 } from "#proxy/http1/latin1.ts";
import type { Http1Limits } from "#proxy/http1/limits.ts";
import { BodyDecoder } from "#proxy/http1/parser_body.ts";
import { hasStrayBytes } from "#proxy/http1/parser_fields.ts";
import {
  isFailure,
  judgeBegun,
  type ParsedRequest,
  parseRequest,
  requestOf,
} from "#proxy/http1/parser_head.ts";
import { type ChunkReader, RecycledReads, recycledSocket } from "#proxy/http1/recycled_socket.ts";
import { reset } from "#proxy/http1/reset.ts";
import { type AnswerFraming, answerText, interimText } from "#proxy/http1/serializer.ts";
import { beginWork, endWork, WriteQueue } from "#proxy/http1/write_queue.ts";
import type { Admitted } from "#proxy/listen/server_tls.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";

/**
 * `head`: between requests or inside a head. `body`: a request's body is being read.
 * `answer`: the request is read whole, its answer is not finished. `tunnel`: another protocol, both ways.
 * `over`: no other request is read.
 */
type Phase = "head" | "body" | "answer" | "tunnel" | "over";

const EMPTY = Buffer.alloc(0);
/** A closed connection is still read, so that the client sees our last answer: as long as it sends, */
const LINGER_MS = 2_000;
/** and this many times `LINGER_MS` at most. */
const LINGERS_MAX = 15;
/** How long a client that has said nothing yet is waited for while its port drains. */
export const FIRST_REQUEST_MS = 1_000;
const NO_HEAD: RequestHead = {
  method: "",
  target: "",
  authority: "",
  fields: [],
  body: 0,
  upgrade: undefined,
  takesTrailers: false,
};

export interface DownstreamOptions {
  readonly listener: string;
  /** TLS ends here. */
  readonly secure: boolean;
  /** Nobody has read of these sockets: they may read into buffers that are used again. */
  readonly recycles: boolean;
  readonly handler: Handler;
  readonly wheel: TimerWheel;
  readonly date: HttpDate;
  readonly limits: Http1Limits;
  readonly policy: ClientPolicy;
  /** The proxy's name in `Proxy-Status` of refusals. */
  readonly self: string;
  /** @param known somebody above has had the request, and has recorded its end. */
  readonly onRefused: (reason: Failure, peer: Peer, known: boolean) => void;
  readonly onClosed: (connection: DownstreamConnection) => void;
}

/**
 * One client's connection. It is itself the Exchange of the request that it is answering: there is one
 * at a time, pipelined ones wait in order (RFC 9112 §9.3.2).
 */
export class DownstreamConnection extends WheelItem implements Exchange, ChunkReader {
  head: RequestHead = NO_HEAD;
  readonly peer: Peer;
  readonly listener: string;
  readonly secure: boolean;
  readonly servedHosts: string | undefined;
  readonly raw = false;
  readonly serverName = undefined;
  readonly policy: ClientPolicy;
  observer: ExchangeObserver | undefined = undefined;
  log: AccessEntry | undefined = undefined;
  readonly #options: DownstreamOptions;
  readonly #socket: Socket;
  readonly #out: WriteQueue;
  readonly #body: BodyDecoder;
  readonly #memo = new HeadMemo();
  readonly #reads = new RecycledReads(this);
  #phase: Phase = "head";
  /** Bytes read and not yet consumed. */
  #unread: Buffer = EMPTY;
  /** Inside `#process`: it goes on by itself. */
  #processing = false;
  #sink: BodySink | undefined = undefined;
  #bodyPaused = false;
  /** The next request waits until the client has read answers. */
  #stalled = false;
  #keepAlive = true;
  #old = false;
  #framing: AnswerFraming = "none";
  #answered = false;
  #requests = 0;
  #answerEnded = true;
  #draining = false;
  #halfClosed = false;
  /** Bytes arrived since the timer last looked. */
  #progress = false;
  /** Bytes of a head that has begun and is not complete; they have been judged. */
  #headSeen = 0;
  /** The empty line that is forgiven before a request has come. */
  #blankSeen = false;
  /** Times that the timer found a closed connection still sending. */
  #lingers = 0;
  /** Bytes that the client had taken when the timer last looked. */
  #taken = 0;

  constructor(accepted: Socket, { peer, servedHosts }: Admitted, options: DownstreamOptions) {
    super();
    const socket = options.recycles ? recycledSocket(accepted, this.#reads) : accepted;
    this.#socket = socket;
    this.#options = options;
    this.peer = peer;
    this.servedHosts = servedHosts;
    this.listener = options.listener;
    this.secure = options.secure;
    this.policy = options.policy;
    this.#out = new WriteQueue(socket);
    this.#body = new BodyDecoder(options.limits);
    if (socket === accepted) socket.on("data", (chunk: Buffer) => this.onChunk(chunk));
    socket.on("drain", () => this.#onDrain());
    socket.on("end", () => this.#onEnd());
    socket.on("error", () => {});
    socket.on("close", () => this.#onClose());
    options.wheel.arm(this, options.limits.headTimeoutMs);
  }

  get httpVersion(): "1.0" | "1.1" {
    return this.#old ? "1.0" : "1.1";
  }

  /** Between requests: nothing is lost by closing it. */
  get idle(): boolean {
    return this.#phase === "head" && this.#answerEnded && this.#unread.length === 0;
  }

  info() {
    const client = this.peer.address;
    const { bytesRead: bytesIn, bytesWritten: bytesOut } = this.#socket;
    const state = this.idle ? "idle" : this.#phase;
    return { listener: this.listener, client, state, requests: this.#requests, bytesIn, bytesOut };
  }

  /**
   * Takes no further request: closes now if idle, else after the running answer. Who has just come gets a
   * moment for a first request: to a client, a new connection that closes is a refusal.
   */
  drain(): void {
    this.#draining = true;
    this.#keepAlive = false;
    if (!this.idle) return;
    const { wheel, limits } = this.#options;
    if (this.#requests > 0) this.#close();
    else wheel.arm(this, Math.min(FIRST_REQUEST_MS, limits.headTimeoutMs));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // ── Exchange: the request's body ──

  readBody(sink: BodySink): void {
    this.#sink = sink;
    if (this.#phase === "tunnel") this.#readTunnel();
    else this.#process();
  }

  resumeBody(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    if (this.#phase === "tunnel") this.#readTunnel();
    else this.#process();
    if (!this.#bodyPaused) this.#socket.resume();
  }

  // ── Exchange: the answer ──

  interim(status: number, fields: Fields): void {
    // HTTP/1.0 clients do not know interim answers.
    if (!this.#old && !this.#answered) this.#out.text(interimText(status, fields));
  }

  answer(head: AnswerHead): void {
    this.#answered = true;
    // The rest of the request would be taken for the next one; the client had better know (RFC 9110 §10.1.1).
    if (this.#phase === "body") this.#keepAlive = false;
    // Who asked to switch and went on at once: in which protocol, nobody can tell.
    if (this.head.upgrade !== undefined && this.#unread.length > 0) this.#keepAlive = false;
    this.#framing = this.#framingOf(head);
    if (this.#framing === "close" || this.#framing === "tunnel") this.#keepAlive = false;
    if (this.#framing === "tunnel") this.#phase = "tunnel";
    this.#options.date.stamp(head.fields);
    const persistence = this.#keepAlive ? (this.#old ? "keep-alive" : "") : "close";
    this.#out.text(answerText(head, this.#framing, persistence));
  }

  answerBody(chunk: Buffer): boolean {
    if (this.#framing === "none" || chunk.length === 0) return true;
    return this.#out.body(chunk, this.#framing === "chunked");
  }

  answerEnd(trailers: Fields | undefined): void {
    this.#out.end(this.#framing === "chunked", trailers);
    this.#answerEnded = true;
    if (this.#phase === "tunnel" && !this.#halfClosed) {
      this.#socket.end();
      return;
    }
    this.observer = undefined;
    if (this.#phase === "over") {
      this.#close();
      return;
    }
    // The answer came before the body's end: what follows is not a request.
    if (!this.#keepAlive || this.#phase === "body") {
      this.#close();
      return;
    }
    this.#phase = "head";
    this.#sink = undefined;
    this.head = NO_HEAD;
    if (this.#halfClosed && this.#unread.length === 0) this.#close();
    else if (this.#unread.length > 0) {
      this.#process();
      if (!this.#stalled) this.#socket.resume();
    }
  }

  abort(_reason: Failure): void {
    this.#answerEnded = true;
    this.observer = undefined;
    this.#phase = "over";
    this.#cut();
  }

  /** Where the end of the connection is the end of the message, only a reset says that it was cut. */
  #cut(): void {
    if (this.#framing === "close" || this.#framing === "tunnel") reset(this.#socket);
    else this.#socket.destroy();
  }

  /** Looked at now and then: nothing is armed per request. */
  override onTimeout(): void {
    const { wheel, limits } = this.#options;
    const progress = this.#progress;
    this.#progress = false;
    if (this.#phase === "over") {
      if (progress && ++this.#lingers < LINGERS_MAX) wheel.arm(this, LINGER_MS);
      else this.#socket.destroy();
      return;
    }
    // Once an answer has begun it is the answer's time that counts.
    const isAnswering = this.#phase === "body" && this.#answered;
    if (this.#phase === "answer" || this.#phase === "tunnel" || isAnswering) this.#watchReader();
    else if (this.#phase === "body") {
      if (progress || this.#bodyPaused) wheel.arm(this, limits.bodyTimeoutMs);
      else this.#clientFailed(failure("body_timeout", `${limits.bodyTimeoutMs} ms without a byte`));
    } else if (this.#stalled) this.#watchReader();
    else if (this.#unread.length > 0) {
      this.#refuse(failure("head_timeout", `no head after ${limits.headTimeoutMs} ms`));
    } else if (progress) wheel.arm(this, limits.idleTimeoutMs);
    else this.#close();
  }

  /** A client that takes nothing of what is there for it, for a whole period, is given up. */
  #watchReader(): void {
    const { bytesWritten, writableLength } = this.#socket;
    const taken = bytesWritten - writableLength;
    const { idleTimeoutMs } = this.#options.limits;
    if (writableLength > 0 && taken === this.#taken) {
      const observer = this.observer;
      this.observer = undefined;
      this.#answerEnded = true;
      observer?.onClientGone(failure("client_closed", `took nothing for ${idleTimeoutMs} ms`));
      this.#socket.destroy();
      return;
    }
    this.#taken = taken;
    this.#options.wheel.arm(this, idleTimeoutMs);
  }

  // ── the socket ──

  // ── ChunkReader ──

  get passesOn(): boolean {
    return this.#phase === "body" || this.#phase === "tunnel";
  }

  letGo(memory: ArrayBufferLike): void {
    if (this.#unread.buffer === memory) this.#unread = Buffer.from(this.#unread);
  }

  onChunk(chunk: Buffer): void {
    beginWork();
    try {
      this.#take(chunk);
    } finally {
      endWork();
    }
  }

  #take(chunk: Buffer): void {
    this.#progress = true;
    if (this.#phase === "over") return;
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    if (this.#phase === "tunnel") {
      this.#readTunnel();
      return;
    }
    if (this.#phase === "answer" || this.#bodyPaused) {
      if (this.#unread.length > this.#options.limits.pipelineBytesMax) this.#socket.pause();
      return;
    }
    this.#process();
  }

  #onEnd(): void {
    this.#halfClosed = true;
    if (this.#phase === "tunnel") {
      if (this.#unread.length === 0) this.#endTunnel();
      return;
    }
    if (this.#phase === "body") {
      // What was read before may hold the body's end: who reads on will see.
      if (!this.#bodyPaused && this.#sink !== undefined) this.#bodyCut();
    } else if (this.#phase === "head" && this.#answerEnded && !this.#stalled) {
      if (this.#unread.length > 0) this.#refuse(failure("bad_request", "ended inside a head"));
      else this.#close();
    }
  }

  #onDrain(): void {
    this.#out.drained();
    this.observer?.onAnswerDrain();
    if (!this.#stalled) return;
    this.#stalled = false;
    beginWork();
    this.#process();
    endWork();
    if (this.#stalled) return;
    if (this.#halfClosed && this.idle) this.#close();
    else if (!this.#bodyPaused) this.#socket.resume();
  }

  /** The client can still read, and has to know that its request was not whole. */
  #bodyCut(): void {
    this.#clientFailed(failure("bad_request", "ended inside the body"));
  }

  #onClose(): void {
    this.#options.wheel.disarm(this);
    if (this.#phase === "head" && this.#headSeen > 0) {
      this.#options.onRefused(failure("client_closed", "inside a head"), this.peer, false);
    }
    this.#phase = "over";
    this.#unread = EMPTY;
    this.#reads.release();
    if (!this.#answerEnded || this.observer !== undefined) {
      this.#answerEnded = true;
      const observer = this.observer;
      this.observer = undefined;
      observer?.onClientGone(failure("client_closed", "before the answer's end"));
    }
    this.#options.onClosed(this);
  }

  /** Consumes what is unread for as long as the phase allows. */
  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    while (this.#unread.length > 0 || this.#phase === "body") {
      // Who does not read its answers gets no more of them, however many requests it has sent.
      if (this.#phase === "head" && this.#out.congested) {
        this.#stalled = true;
        this.#socket.pause();
        break;
      }
      const going = this.#phase === "head" ? this.#readHead() : this.#readBody();
      if (!going) break;
    }
    this.#processing = false;
  }

  #readHead(): boolean {
    const { limits } = this.#options;
    const buffer = this.#unread;
    const from = this.#blankSeen ? 0 : afterBlankLine(buffer);
    if (from === buffer.length) {
      this.#blankSeen = true;
      this.#headSeen = 0;
      this.#unread = EMPTY;
      if (this.#halfClosed) this.#close();
      return false;
    }
    const known = this.#memo.endOf(buffer, from);
    if (known >= 0 && known - from <= limits.headBytesMax + 4) {
      const { lineEnd, parsed } = this.#memo;
      const line = latin1(buffer, from, lineEnd);
      const request = hasStrayBytes(line)
        ? failure("bad_request", "control character")
        : requestOf(line, line.length, parsed, limits);
      if (!isFailure(request) && request.head.fields === parsed.fields) {
        request.head.fields = parsed.fields.slice();
      }
      return this.#begin(request, known);
    }
    const text = headText(buffer, from, limits.headBytesMax + 4);
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) {
      this.#awaitHead(text);
      return false;
    }
    const next = from + end + 4;
    const request = parseRequest(text.slice(0, end), limits, this.#memo.begin());
    if (!isFailure(request)) this.#memo.keep(buffer, from + text.indexOf("\r"), next);
    return this.#begin(request, next);
  }

  /** @param next where its head ended in what is unread. */
  #begin(request: ParsedRequest | Failure, next: number): boolean {
    if (isFailure(request)) {
      this.#refuse(request);
      return false;
    }
    const buffer = this.#unread;
    this.#headSeen = 0;
    this.#blankSeen = false;
    this.#unread = next === buffer.length ? EMPTY : buffer.subarray(next);
    if (request.head.body !== 0 && buffer.buffer === SHARED_READ.buffer) {
      this.#unread = Buffer.from(this.#unread);
    }
    this.head = request.head;
    this.#old = request.old;
    this.#keepAlive = request.keepAlive && !this.#draining;
    this.#requests++;
    this.#answered = false;
    this.#answerEnded = false;
    this.#sink = undefined;
    this.#body.begin(request.head.body);
    this.#phase = request.head.body === 0 ? "answer" : "body";
    this.#options.handler.onRequest(this);
    // Answered within the call: the phase is `head` again and the loop goes on.
    const phase = this.#phase as Phase;
    return phase === "head" || (phase === "body" && this.#sink !== undefined);
  }

  /** A head has begun: waits for the rest if it can become one. */
  #awaitHead(text: string): void {
    const { limits, wheel } = this.#options;
    const problem = judgeBegun(text, this.#headSeen, limits);
    if (problem !== undefined) this.#refuse(problem);
    else if (this.#halfClosed) this.#refuse(failure("bad_request", "ended inside a head"));
    // Once: who sends a byte now and then must not keep us waiting for ever.
    else if (this.#headSeen === 0) wheel.arm(this, limits.headTimeoutMs);
    // Half of an empty line will not be in `text` the next time.
    this.#headSeen = text === "\r" ? 0 : text.length;
  }

  /** False: wait for more bytes, for a reader or for its resume. */
  #readBody(): boolean {
    if (this.#phase !== "body" || this.#sink === undefined || this.#bodyPaused) return false;
    const buffer = this.#unread;
    this.#body.at = 0;
    for (;;) {
      const step = this.#body.step(buffer);
      if (step === "data") {
        const wantsMore = this.#sink.onBody(this.#body.data);
        // The sink may have ended the exchange within the call.
        if (this.#phase !== "body") return false;
        if (wantsMore) continue;
        this.#bodyPaused = true;
        this.#socket.pause();
        this.#unread = buffer.subarray(this.#body.at);
        return false;
      }
      this.#unread = this.#body.at === buffer.length ? EMPTY : buffer.subarray(this.#body.at);
      if (step === "end") {
        this.#phase = "answer";
        this.#sink.onBodyEnd(this.#body.trailers);
        return (this.#phase as Phase) === "head";
      }
      if (step === "bad") this.#clientFailed(failure("bad_request", "chunked body"));
      else if (this.#halfClosed) this.#bodyCut();
      return false;
    }
  }

  /** Passes on what came; a tunnel has no framing of ours. */
  #readTunnel(): void {
    if (this.#bodyPaused || this.#sink === undefined) return;
    const chunk = this.#unread;
    this.#unread = EMPTY;
    if (chunk.length > 0 && !this.#sink.onBody(chunk)) {
      this.#bodyPaused = true;
      this.#socket.pause();
    } else if (this.#halfClosed) this.#endTunnel();
    else this.#socket.resume();
  }

  /** The client says no more; the other direction may go on. */
  #endTunnel(): void {
    if (this.#bodyPaused || this.#sink === undefined) return;
    const sink = this.#sink;
    this.#sink = undefined;
    if (this.#answerEnded) this.observer = undefined;
    sink.onBodyEnd(undefined);
    if (this.#answerEnded) this.#close();
  }

  #framingOf(head: AnswerHead): AnswerFraming {
    const { status, body } = head;
    if (opensTunnel(this.head.method, status)) return "tunnel";
    if (this.head.method === "HEAD" || status === 204 || status === 304) return "none";
    if (body >= 0) return "length";
    return this.#old ? "close" : "chunked";
  }

  // ── ends ──

  /** A request that we did not pass on: one answer with the reason's class, then the end. */
  #refuse(reason: Failure, known = false): void {
    this.#options.onRefused(reason, this.peer, known);
    const { status, proxyError } = FAILURES[reason.kind];
    const body = `${status} ${reason.kind}\n`;
    const fields = ["content-type", "text/plain"];
    fields.push("proxy-status", `${this.#options.self}; error=${proxyError}`);
    this.#phase = "over";
    this.#answerEnded = true;
    this.#options.date.stamp(fields);
    const head = { status, reason: "", fields, body: body.length, upgrade: undefined };
    this.#out.text(answerText(head, "length", "close") + body);
    this.#close();
  }

  /** The client broke a request that is already on its way. */
  #clientFailed(reason: Failure): void {
    const observer = this.observer;
    this.observer = undefined;
    const answered = this.#answered;
    this.#answerEnded = true;
    this.#phase = "over";
    observer?.onClientGone(reason);
    if (answered) {
      this.#options.onRefused(reason, this.peer, true);
      this.#cut();
    } else this.#refuse(reason, true);
  }

  /**
   * Says goodbye and reads on for a moment: closing with unread bytes would reset the connection and
   * might take our answer from the client (RFC 9112 §9.6).
   */
  #close(): void {
    this.#phase = "over";
    this.#unread = EMPTY;
    this.#out.flush();
    this.#socket.end();
    this.#options.wheel.disarm(this);
    this.#options.wheel.arm(this, LINGER_MS);
    this.#socket.resume();
  }
}

/** RFC 9112 §2.2: one empty line before a request is forgiven. */
function afterBlankLine(buffer: Buffer): number {
  return buffer[0] === 13 && buffer[1] === 10 ? 2 : 0;
}
