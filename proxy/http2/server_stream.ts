import {
  type AnswerHead,
  BODY_UNKNOWN,
  type BodySink,
  type ClientPolicy,
  type Exchange,
  type ExchangeObserver,
  type Fields,
  opensTunnel,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/exchange/http_date.ts";
import { ownAnswer } from "#proxy/exchange/own_answer.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { addWebSocketKey, isWebSocket, removeWebSocketAccept } from "#proxy/http1/websocket.ts";
import { ErrorCode } from "#proxy/http2/frames.ts";
import { Http2Stream, type StreamCarrier } from "#proxy/http2/stream.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";

/** What a request has from the connection that it came by. */
export interface ServerCarrier extends StreamCarrier {
  readonly peer: Peer;
  readonly listener: string;
  readonly secure: boolean;
  readonly servedHosts: string | undefined;
  readonly policy: ClientPolicy;
  readonly date: HttpDate;
}

/** One request of a client: the Exchange over an HTTP/2 stream. */
export class ServerStream extends Http2Stream implements Exchange {
  readonly head: RequestHead;
  readonly raw = false;
  readonly serverName = undefined;
  readonly httpVersion = "2.0";
  observer: ExchangeObserver | undefined = undefined;
  log: AccessEntry | undefined = undefined;
  readonly #server: ServerCarrier;
  #sink: BodySink | undefined = undefined;
  #answered = false;
  /** HEAD, 204, 304: its body is not sent. */
  #isBodyless = false;
  #isTunnel = false;
  /** Of a WebSocket: its handshake has a key of ours, so that an HTTP/1.1 endpoint takes it. */
  readonly #hasOurKey: boolean;

  constructor(carrier: ServerCarrier, id: number, sendWindow: number, head: RequestHead) {
    super(carrier, id, sendWindow);
    this.#server = carrier;
    this.head = head;
    // What comes early for a tunnel waits for it.
    const mayTunnel = head.upgrade !== undefined || head.method === "CONNECT";
    this.bodyLeft = mayTunnel ? BODY_UNKNOWN : head.body;
    this.#hasOurKey = isWebSocket(head.upgrade) && addWebSocketKey(head.fields);
  }

  get peer(): Peer {
    return this.#server.peer;
  }

  get listener(): string {
    return this.#server.listener;
  }

  get secure(): boolean {
    return this.#server.secure;
  }

  get servedHosts(): string | undefined {
    return this.#server.servedHosts;
  }

  get policy(): ClientPolicy {
    return this.#server.policy;
  }

  /** The rest of a request is of no use once it is answered; what comes through a tunnel is. */
  protected override get readsToTheEnd(): boolean {
    return this.#isTunnel;
  }

  /** Its answer has begun. */
  get answered(): boolean {
    return this.#answered;
  }

  /** We are ready for its body, which does not come. */
  get isAwaitingBody(): boolean {
    return this.reading && !this.remoteEnded && !this.#isTunnel;
  }

  // ── Exchange: the request's body ──

  readBody(sink: BodySink): void {
    this.#sink = sink;
    this.read();
  }

  resumeBody(): void {
    if (this.#sink !== undefined) this.read();
  }

  protected onPiece(chunk: Buffer): boolean {
    return this.#sink!.onBody(chunk);
  }

  protected onPiecesEnd(trailers: Fields | undefined): void {
    this.#sink?.onBodyEnd(trailers);
  }

  // ── Exchange: the answer ──

  interim(status: number, fields: Fields): void {
    if (!this.#answered && !this.closed) this.#server.frames.interim(this, status, fields);
  }

  answer(head: AnswerHead): void {
    if (this.closed) return;
    this.#answered = true;
    const { method, upgrade } = this.head;
    this.#isTunnel = opensTunnel(method, head.status);
    const { status } = head;
    this.#isBodyless = method === "HEAD" || status === 204 || status === 304;
    if (this.#isTunnel) {
      if (this.#hasOurKey) removeWebSocketAccept(head.fields);
    } else {
      // RFC 8441 §4: to its client a 2xx would be the tunnel that the endpoint has not opened.
      if (upgrade !== undefined && status >= 200 && status < 300) head.status = 502;
      this.#server.date.stamp(head.fields);
    }
    this.#server.frames.answer(this, head);
  }

  answerBody(chunk: Buffer): boolean {
    if (this.closed || this.#isBodyless || chunk.length === 0) return true;
    return this.send(chunk);
  }

  answerEnd(trailers: Fields | undefined): void {
    if (!this.#isTunnel) this.observer = undefined;
    if (this.closed) return;
    this.sendEnd(trailers);
    // RFC 9113 §8.1: the answer is whole without the rest of the request.
    if (this.localEnded && !this.remoteEnded && !this.#isTunnel) {
      this.carrier.reset(this, ErrorCode.NO_ERROR);
    }
  }

  /** An answer of our own, which says in a word why. @param self our name in `Proxy-Status`. */
  refuse({ kind }: Failure, self: string): void {
    if (this.#answered) return;
    const { head, text } = ownAnswer(kind, self);
    this.answer(head);
    this.answerBody(Buffer.from(text));
    this.answerEnd(undefined);
  }

  abort(reason: Failure): void {
    this.observer = undefined;
    const isOurs = reason.kind === "deadline" || reason.kind === "stream_idle";
    if (!this.closed) {
      this.carrier.reset(this, isOurs ? ErrorCode.CANCEL : ErrorCode.INTERNAL_ERROR);
    }
  }

  // ── Http2Stream ──

  protected onDrained(): void {
    this.observer?.onAnswerDrain();
  }

  /** After its answer was written in full the rest of the request is still to be cut off. */
  override pump(): void {
    super.pump();
    if (!this.localEnded || this.remoteEnded || this.#isTunnel || this.closed) return;
    this.carrier.reset(this, ErrorCode.NO_ERROR);
  }

  onReset(_code: number, detail: string): void {
    this.gone(failure("client_closed", detail));
  }

  onLost(detail: string): void {
    this.gone(failure("client_closed", detail));
  }

  /** The handler learns that there is nobody to answer any more. */
  gone(reason: Failure): void {
    const { observer } = this;
    this.observer = undefined;
    observer?.onClientGone(reason);
  }
}
