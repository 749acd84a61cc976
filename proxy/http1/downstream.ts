import type { Socket } from "node:net";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type {
  AnswerHead,
  BodySink,
  ClientPolicy,
  Exchange,
  ExchangeObserver,
  Fields,
  Handler,
  RequestHead,
} from "#proxy/exchange/exchange.ts";
import { DRAINED, type Failure, failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/exchange/http_date.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { AnswerWriter } from "#proxy/http1/answer_writer.ts";
import { type Awaited, ClientTimer, type TimedClient } from "#proxy/http1/client_timer.ts";
import { HeadReader, type Unfinished } from "#proxy/http1/head_reader.ts";
import { isFailure, type ParsedRequest } from "#proxy/http1/parser_head.ts";
import { RequestBody } from "#proxy/http1/request_body.ts";
import { isWebSocket, withWebSocketAccept } from "#proxy/http1/websocket.ts";
import type { Admitted } from "#proxy/listen/server_tls.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";
import { JOIN_BYTES_MAX, SHARED_READ } from "#proxy/socket/held_buffers.ts";
import {
  type ChunkReader,
  RecycledReads,
  recycledSocket,
  recycleTls,
} from "#proxy/socket/recycled_socket.ts";
import { type TunnelOwner, TunnelReads } from "#proxy/socket/tunnel_reads.ts";
import { beginWork, endWork } from "#proxy/socket/work.ts";

/**
 * `head`: between requests or inside a head. `body`: a request's body is being read.
 * `answer`: the request is read whole, its answer is not finished. `tunnel`: another protocol, both ways.
 * `over`: no other request is read.
 */
type Phase = "head" | "body" | "answer" | "tunnel" | "over";

const EMPTY = Buffer.alloc(0);
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
  readonly limits: ConnectionLimits;
  readonly policy: ClientPolicy;
  /** The proxy's name in `Proxy-Status` of refusals. */
  readonly self: string;
  /** @param known somebody above has had the request, and has recorded its end. */
  readonly onRefused: (reason: Failure, peer: Peer, known: boolean) => void;
  readonly onClosed: (connection: DownstreamConnection) => void;
  /**
   * Its first request was HTTP/2's preface (RFC 9113 §3.3): who is returned reads from now on what comes,
   * \`first\` being the first of it, and has the socket for itself.
   */
  readonly onPreface: (connection: DownstreamConnection, socket: Socket) => ChunkReader;
}

/**
 * One client's connection. It is itself the Exchange of the request that it is answering: there is one
 * at a time, pipelined ones wait in order (RFC 9112 §9.3.2).
 */
export class DownstreamConnection implements Exchange, ChunkReader, TimedClient, TunnelOwner {
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
  readonly #answers: AnswerWriter;
  readonly #body: RequestBody;
  readonly #heads: HeadReader;
  readonly #timer: ClientTimer;
  readonly #reads = new RecycledReads(this);
  #phase: Phase = "head";
  /** Bytes read and not yet consumed. */
  #unread: Buffer = EMPTY;
  /** Inside `#process`: it goes on by itself. */
  #processing = false;
  /** After a switch of protocols: who reads what comes. */
  #tunnel: TunnelReads | undefined = undefined;
  /** The next request waits until the client has read answers. */
  #stalled = false;
  #keepAlive = true;
  #requests = 0;
  #answerEnded = true;
  #draining = false;
  #halfClosed = false;
  /** It turned out to speak HTTP/2: whose it is now. */
  #successor: ChunkReader | undefined = undefined;

  constructor(accepted: Socket, { peer, servedHosts }: Admitted, options: DownstreamOptions) {
    const socket = options.recycles ? recycledSocket(accepted, this.#reads) : accepted;
    this.#socket = socket;
    this.#options = options;
    this.peer = peer;
    this.servedHosts = servedHosts;
    this.listener = options.listener;
    this.secure = options.secure;
    this.policy = options.policy;
    this.#answers = new AnswerWriter(socket, options.date);
    this.#body = new RequestBody(options.limits);
    this.#heads = new HeadReader(options.limits);
    if (socket === accepted && !(this.secure && recycleTls(socket, this.#reads))) {
      socket.on("data", (chunk: Buffer) => this.onChunk(chunk));
    }
    socket.on("drain", () => this.#successor === undefined && this.#onDrain());
    socket.on("end", () => this.#successor === undefined && this.#onEnd());
    socket.on("error", () => {});
    socket.on("close", () =>
      this.#successor === undefined ? this.#onClose() : this.#reads.release(),
    );
    this.#timer = new ClientTimer(this, socket, options.wheel, options.limits);
  }

  get httpVersion(): "1.0" | "1.1" {
    return this.#answers.old ? "1.0" : "1.1";
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
    if (this.#requests > 0) this.#close();
    else this.#timer.hurry();
  }

  destroy(): void {
    if (this.#phase === "head" && this.#heads.isInside) {
      this.#options.onRefused(DRAINED, this.peer, false);
    }
    this.#readNoMore();
    this.onStuck(DRAINED);
  }

  // ── Exchange: the request's body ──

  readBody(sink: BodySink): void {
    if (this.#tunnel !== undefined) {
      this.#tunnel.takeBy(sink);
      return;
    }
    this.#body.takeBy(sink);
    this.#process();
  }

  resumeBody(): void {
    if (this.#tunnel !== undefined) {
      this.#tunnel.resume();
      return;
    }
    if (!this.#body.resume()) return;
    this.#process();
    if (!this.#body.isHeld) this.#socket.resume();
  }

  // ── Exchange: the answer ──

  interim(status: number, fields: Fields): void {
    this.#answers.interim(status, fields);
  }

  answer(head: AnswerHead): void {
    // The rest of the request would be taken for the next one; the client had better know (RFC 9110 §10.1.1).
    if (this.#phase === "body") this.#keepAlive = false;
    // Who asked to switch and went on at once: in which protocol, nobody can tell.
    if (this.head.upgrade !== undefined && this.#unread.length > 0) this.#keepAlive = false;
    if (head.status === 101 && isWebSocket(head.upgrade)) {
      head.fields = withWebSocketAccept(head.fields, this.head.fields);
    }
    this.#keepAlive = this.#answers.head(head, this.head.method, this.#keepAlive);
    if (this.#answers.opensTunnel) this.#beginTunnel();
  }

  answerBody(chunk: Buffer): boolean {
    return this.#answers.body(chunk);
  }

  answerEnd(trailers: Fields | undefined): void {
    this.#answers.end(trailers);
    this.#answerEnded = true;
    if (this.#phase === "tunnel" && !this.#halfClosed) {
      this.#socket.end();
      return;
    }
    this.observer = undefined;
    // With the answer before the body's end, what follows is not a request.
    if (!this.#keepAlive || this.#phase === "over" || this.#phase === "body") {
      this.#close();
      return;
    }
    this.#phase = "head";
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
    this.#readNoMore();
    this.#answers.cut();
  }

  // ── TimedClient ──

  get awaits(): Awaited {
    const phase = this.#phase;
    if (phase === "over") return "end";
    if (phase === "answer" || phase === "tunnel") return "reader";
    if (phase === "body") {
      // Once an answer has begun it is the answer's time that counts.
      if (this.#answers.begun) return "reader";
      return this.#body.isHeld ? "taker" : "body";
    }
    if (this.#stalled) return "reader";
    return this.#unread.length > 0 ? "head" : "request";
  }

  onUnused(): void {
    this.#close();
  }

  onLate(reason: Failure): void {
    if (this.#phase === "body") this.#clientFailed(reason);
    else this.#refuse(reason);
  }

  onStuck(reason: Failure): void {
    const observer = this.observer;
    this.observer = undefined;
    this.#answerEnded = true;
    observer?.onClientGone(reason);
    this.#socket.destroy();
  }

  // ── ChunkReader ──

  get passesOn(): boolean {
    return this.#phase === "body" || this.#phase === "tunnel";
  }

  letGo(memory: ArrayBufferLike): void {
    this.#successor?.letGo(memory);
    if (this.#unread.buffer === memory) this.#unread = Buffer.from(this.#unread);
    this.#tunnel?.letGo(memory);
  }

  onChunk(chunk: Buffer): void {
    if (this.#successor !== undefined) {
      this.#successor.onChunk(chunk);
      return;
    }
    beginWork();
    try {
      this.#take(chunk);
    } finally {
      endWork();
    }
  }

  // ── the socket ──

  #take(chunk: Buffer): void {
    this.#timer.progress = true;
    if (this.#phase === "over") return;
    if (this.#tunnel !== undefined) {
      this.#tunnel.take(chunk);
      return;
    }
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    if (this.#phase === "answer" || this.#body.isHeld) {
      if (this.#unread.length > this.#options.limits.pipelineBytesMax) this.#socket.pause();
      return;
    }
    this.#process();
  }

  #onEnd(): void {
    this.#halfClosed = true;
    if (this.#phase === "tunnel") this.#tunnel!.end();
    else if (this.#phase === "body") {
      // What was read before may hold the body's end: who reads on will see.
      if (!this.#body.isHeld && this.#body.isTaken) this.#bodyCut();
    } else if (this.#phase === "head" && this.#answerEnded && !this.#stalled) {
      if (this.#unread.length > 0) this.#refuse(failure("bad_request", "ended inside a head"));
      else this.#close();
    }
  }

  #onDrain(): void {
    this.#answers.drained();
    this.observer?.onAnswerDrain();
    if (!this.#stalled) return;
    this.#stalled = false;
    beginWork();
    this.#process();
    endWork();
    if (this.#stalled) return;
    if (this.#halfClosed && this.idle) this.#close();
    else if (!this.#body.isHeld) this.#socket.resume();
  }

  /** The client can still read, and has to know that its request was not whole. */
  #bodyCut(): void {
    this.#clientFailed(failure("bad_request", "ended inside the body"));
  }

  #onClose(): void {
    this.#timer.stop();
    if (this.#phase === "head" && this.#heads.isInside) {
      this.#options.onRefused(failure("client_closed", "inside a head"), this.peer, false);
    }
    this.#readNoMore();
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
      if (this.#phase === "head" && this.#answers.congested) {
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
    const found = this.#heads.read(this.#unread);
    if (typeof found === "string") this.#awaitHead(found);
    else if (!isFailure(found)) return this.#begin(found);
    else if (this.#requests === 0 && saysPreface(this.#unread)) this.#handOver();
    else this.#refuse(found);
    return false;
  }

  #handOver(): void {
    const first = this.#unread;
    this.#unread = EMPTY;
    this.#readNoMore();
    this.#timer.stop();
    this.#successor = this.#options.onPreface(this, this.#socket);
    this.#successor.onChunk(first);
  }

  /** No head yet: waits for the rest if it can become one. */
  #awaitHead(why: Unfinished): void {
    if (why === "blank") {
      this.#unread = EMPTY;
      if (this.#halfClosed) this.#close();
    } else if (this.#halfClosed) this.#refuse(failure("bad_request", "ended inside a head"));
    else if (why === "begun") this.#timer.expectHead();
  }

  #begin(request: ParsedRequest): boolean {
    const buffer = this.#unread;
    const { next } = this.#heads;
    this.#unread = next === buffer.length ? EMPTY : buffer.subarray(next);
    const mustCopy = this.#unread.length > JOIN_BYTES_MAX && request.head.body !== 0;
    if (mustCopy && buffer.buffer === SHARED_READ.buffer) {
      this.#unread = Buffer.from(this.#unread);
    }
    this.head = request.head;
    this.#keepAlive = request.keepAlive && !this.#draining;
    this.#requests++;
    this.#answerEnded = false;
    this.#answers.expect(request.old);
    this.#body.begin(request.head.body);
    this.#phase = request.head.body === 0 ? "answer" : "body";
    this.#options.handler.onRequest(this);
    // Answered within the call: the phase is `head` again and the loop goes on.
    const phase = this.#phase as Phase;
    return phase === "head" || (phase === "body" && this.#body.isTaken);
  }

  /** False: wait for more bytes, for a reader or for its resume. */
  #readBody(): boolean {
    const body = this.#body;
    if (this.#phase !== "body" || !body.isTaken || body.isHeld) return false;
    const buffer = this.#unread;
    const came = body.read(buffer);
    if (came === "dropped") return false;
    this.#unread = body.at === buffer.length ? EMPTY : buffer.subarray(body.at);
    if (came === "held") this.#socket.pause();
    else if (came === "bad") this.#clientFailed(failure("bad_request", "chunked body"));
    else if (came === "end") {
      this.#phase = "answer";
      body.end();
      return (this.#phase as Phase) === "head";
    } else if (this.#halfClosed) this.#bodyCut();
    return false;
  }

  // ── after a switch of protocols ──

  #beginTunnel(): void {
    const start = { unread: this.#unread, ended: this.#halfClosed, held: this.#body.isHeld };
    this.#tunnel = new TunnelReads(this, this.#socket, start);
    this.#phase = "tunnel";
    this.#unread = EMPTY;
    this.#body.drop();
  }

  /** The client says no more; the other direction may go on. */
  onTunnelEnd(sink: BodySink): void {
    if (this.#answerEnded) this.observer = undefined;
    sink.onBodyEnd(undefined);
    if (this.#answerEnded) this.#close();
  }

  // ── ends ──

  /** A request that we did not pass on: one answer with the reason's class, then the end. */
  #refuse(reason: Failure, known = false): void {
    this.#options.onRefused(reason, this.peer, known);
    this.#answerEnded = true;
    this.#answers.refuse(reason, this.#options.self);
    this.#close();
  }

  /** The client broke a request that is already on its way. */
  #clientFailed(reason: Failure): void {
    const observer = this.observer;
    this.observer = undefined;
    const answered = this.#answers.begun;
    this.#answerEnded = true;
    this.#readNoMore();
    observer?.onClientGone(reason);
    if (answered) {
      this.#options.onRefused(reason, this.peer, true);
      this.#answers.cut();
    } else this.#refuse(reason, true);
  }

  /**
   * Says goodbye and reads on for a moment: closing with unread bytes would reset the connection and
   * might take our answer from the client (RFC 9112 §9.6).
   */
  #close(): void {
    this.#readNoMore();
    this.#answers.close();
    this.#timer.linger();
    this.#socket.resume();
  }

  /** What comes from now on is heard by nobody. */
  #readNoMore(): void {
    this.#phase = "over";
    this.#unread = EMPTY;
    this.#tunnel = undefined;
    this.#body.drop();
  }
}

/** The part of HTTP/2's preface that is a head (RFC 9113 §3.4). */
const PREFACE_HEAD = Buffer.from("PRI * HTTP/2.0\r\n\r\n");

function saysPreface(bytes: Buffer): boolean {
  return bytes.subarray(0, PREFACE_HEAD.length).equals(PREFACE_HEAD);
}
