import {
  type AnswerSink,
  type Fields,
  opensTunnel,
  type RequestHead,
  type Stage,
  type UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { type Failure, type FailureName, failure } from "#proxy/exchange/failure.ts";
import { isRefused, readAnswer, readTrailers } from "#proxy/http2/fields.ts";
import { ErrorCode, errorName } from "#proxy/http2/frames.ts";
import type { HeaderBlock } from "#proxy/http2/hpack_decoder.ts";
import { Http2Stream, type StreamCarrier } from "#proxy/http2/stream.ts";

/** What a request has from its connection. */
interface ClientCarrier extends StreamCarrier {
  /** It is open: what was said may have arrived. */
  readonly isReady: boolean;
}

/** One request to an endpoint over an HTTP/2 stream. */
export class ClientStream extends Http2Stream implements UpstreamStream {
  /** Undefined: nobody wants its answer any more. */
  #sink: AnswerSink | undefined;
  readonly #client: ClientCarrier;
  readonly #method: string;
  readonly #upgrade: string | undefined;
  readonly #interimMax: number;
  #interims = 0;
  #answered = false;
  #isTunnel = false;
  #isBodyless = false;

  constructor(
    carrier: ClientCarrier,
    id: number,
    sendWindow: number,
    about: { readonly head: RequestHead; readonly sink: AnswerSink; readonly interimMax: number },
  ) {
    super(carrier, id, sendWindow);
    this.#client = carrier;
    this.#sink = about.sink;
    this.#method = about.head.method;
    this.#upgrade = about.head.upgrade;
    this.#interimMax = about.interimMax;
  }

  // ── UpstreamStream ──

  get stage(): Stage {
    return this.#client.isReady ? "begun" : "connects";
  }

  sendBody(chunk: Buffer): boolean {
    return this.closed || this.localEnded ? true : this.send(chunk);
  }

  override sendEnd(trailers: Fields | undefined): void {
    if (!this.closed && !this.localEnded) super.sendEnd(trailers);
  }

  resume(): void {
    if (this.#sink !== undefined && this.#answered) this.read();
  }

  cancel(): void {
    if (this.#sink === undefined) return;
    this.#sink = undefined;
    this.carrier.reset(this, ErrorCode.CANCEL);
  }

  // ── the answer ──

  /** A header block that is no error by itself. @param isTooLarge over our bounds. */
  onBlock(block: HeaderBlock, endStream: boolean, isTooLarge: boolean): void {
    this.moved = true;
    if (this.remoteEnded) this.#broken(ErrorCode.STREAM_CLOSED, "HEADERS after its end");
    else if (isTooLarge) this.#broken(ErrorCode.CANCEL, "header list too large");
    else if (this.#answered) this.#onTrailers(block, endStream);
    else this.#onHead(block, endStream);
  }

  #onHead(block: HeaderBlock, endStream: boolean): void {
    const head = readAnswer(block, endStream, this.#method, this.#upgrade);
    if (isRefused(head)) {
      this.#broken(ErrorCode.PROTOCOL_ERROR, head.detail);
      return;
    }
    const { status } = head;
    if (status < 200 && status !== 101) {
      if (++this.#interims > this.#interimMax) {
        this.#broken(ErrorCode.ENHANCE_YOUR_CALM, `over ${this.#interimMax} interim answers`);
      } else this.#sink?.onInterim(status, head.fields);
      return;
    }
    this.#answered = true;
    this.#isTunnel = status === 101 || opensTunnel(this.#method, status);
    this.#isBodyless = !this.#isTunnel && head.body === 0;
    this.bodyLeft = this.#isTunnel ? -1 : head.body;
    head.neverIndexed = block.neverIndexed;
    if (this.#isTunnel) head.body = -1;
    this.#sink?.onAnswer(head);
    if (this.closed || this.#sink === undefined) return;
    this.read();
    if (endStream) this.receiveEnd(undefined);
  }

  #onTrailers(block: HeaderBlock, endStream: boolean): void {
    const isEnd = endStream && (this.bodyLeft <= 0 || this.#isBodyless);
    const trailers = isEnd
      ? readTrailers(block, "bad_answer")
      : failure("bad_answer", "no trailers");
    if (isRefused(trailers)) this.#broken(ErrorCode.PROTOCOL_ERROR, trailers.detail);
    else this.receiveEnd(trailers);
  }

  /** The endpoint has broken a rule of this stream. */
  #broken(code: number, detail: string): void {
    this.carrier.reset(this, code);
    this.#fail(this.#answered ? "answer_truncated" : "bad_answer", detail);
  }

  protected onPiece(chunk: Buffer): boolean {
    return this.#sink?.onAnswerBody(chunk) ?? true;
  }

  protected onPiecesEnd(trailers: Fields | undefined): void {
    const sink = this.#sink;
    if (!this.#isTunnel) this.#sink = undefined;
    // RFC 9113 §8.1: the answer is whole without the rest of the request.
    if (!this.#isTunnel && !this.localEnded && !this.closed) {
      this.carrier.reset(this, ErrorCode.CANCEL);
    }
    sink?.onAnswerEnd(trailers);
  }

  protected onDrained(): void {
    this.#sink?.onRequestDrain();
  }

  // ── ends ──

  onReset(code: number, detail: string): void {
    if (code === ErrorCode.REFUSED_STREAM) this.#fail("refused_stream", detail);
    // RFC 9113 §8.1: a server that has answered may ask for no more; that came with the answer's end.
    else if (this.#answered) this.#fail("answer_truncated", detail);
    else this.#fail(code === ErrorCode.PROTOCOL_ERROR ? "bad_answer" : "closed_early", detail);
  }

  onLost(detail: string): void {
    this.#fail(this.#answered ? "answer_truncated" : "closed_early", detail);
  }

  /** The endpoint says that it has not acted on it (RFC 9113 §6.8). */
  onUnprocessed(code: number): void {
    this.#fail("refused_stream", `GOAWAY ${errorName(code)}`);
  }

  /** Its connection never came about, or the link is down. */
  fail(reason: Failure): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.onFailure(reason);
  }

  #fail(kind: FailureName, detail: string): void {
    this.fail(failure(kind, detail));
  }
}
