import {
  type AnswerHead,
  BODY_UNKNOWN,
  type BodySink,
  type ClientPolicy,
  type Exchange,
  type ExchangeObserver,
  type Fields,
  type HttpVersion,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { fieldValue, removeFields } from "#proxy/exchange/fields.ts";
import { isGrpc } from "#proxy/exchange/grpc.ts";
import { ownAnswer } from "#proxy/exchange/own_answer.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { Base64Decoder, Base64Encoder } from "#proxy/filter/base64_stream.ts";
import { GrpcMessages } from "#proxy/filter/grpc_messages.ts";
import { type GrpcWebCall, readGrpcWeb, trailersFrame } from "#proxy/filter/grpc_web.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";

/**
 * Who is to be answered: the client itself, or who translates for it if it speaks gRPC-Web and endpoints are asked in
 * gRPC.
 * @param head what endpoints are asked.
 * @param self our name in `Proxy-Status`.
 */
export function translated(exchange: Exchange, head: RequestHead, self: string): Exchange {
  if (head === exchange.head) return exchange;
  const call = readGrpcWeb(exchange.head);
  return call === undefined ? exchange : new GrpcWebExchange(exchange, call, head, self);
}

/** Of an answer that is translated they mean nothing: its length is another one, and its trailers are none. */
const REPLACED: ReadonlySet<string> = new Set(["content-type", "trailer"]);

/**
 * A call of gRPC as everybody behind it sees it, over the exchange of a client that speaks gRPC-Web. It keeps at most
 * three bytes each way; everything else goes on within the call that brought it. An answer that is not gRPC passes
 * as it is.
 */
class GrpcWebExchange implements Exchange, BodySink {
  readonly head: RequestHead;
  readonly raw = false;
  readonly serverName = undefined;
  readonly #client: Exchange;
  readonly #call: GrpcWebCall;
  readonly #self: string;
  readonly #decoder = new Base64Decoder();
  /** Takes the request's body, decoded. */
  #sink: BodySink | undefined = undefined;
  #hasAnswered = false;
  /** Undefined: the answer is not gRPC. */
  #messages: GrpcMessages | undefined = undefined;
  readonly #encoder = new Base64Encoder();
  /** The head of the answer has said how the call has ended. */
  #hasStatus = false;

  constructor(client: Exchange, call: GrpcWebCall, head: RequestHead, self: string) {
    this.#client = client;
    this.#call = call;
    this.head = head;
    this.#self = self;
  }

  get peer(): Peer {
    return this.#client.peer;
  }

  get listener(): string {
    return this.#client.listener;
  }

  get httpVersion(): HttpVersion {
    return this.#client.httpVersion;
  }

  get secure(): boolean {
    return this.#client.secure;
  }

  get servedHosts(): string | undefined {
    return this.#client.servedHosts;
  }

  get policy(): ClientPolicy {
    return this.#client.policy;
  }

  get log(): AccessEntry | undefined {
    return this.#client.log;
  }

  set log(entry: AccessEntry | undefined) {
    this.#client.log = entry;
  }

  get observer(): ExchangeObserver | undefined {
    return this.#client.observer;
  }

  set observer(observer: ExchangeObserver | undefined) {
    this.#client.observer = observer;
  }

  // ── the request's body ──

  readBody(sink: BodySink): void {
    this.#sink = sink;
    this.#client.readBody(this.#call.sendsText ? this : sink);
  }

  resumeBody(): void {
    this.#client.resumeBody();
  }

  onBody(chunk: Buffer): boolean {
    // Nobody waits for the rest of a broken one.
    if (this.#sink === undefined) return true;
    const bytes = this.#decoder.decode(chunk);
    if (bytes === undefined) {
      this.#broken("no base64");
      return true;
    }
    return bytes.length === 0 || this.#sink.onBody(bytes);
  }

  onBodyEnd(trailers: Fields | undefined): void {
    if (this.#sink === undefined) return;
    if (this.#decoder.isWhole) this.#sink.onBodyEnd(trailers);
    else this.#broken("base64 that ends inside a group");
  }

  /** The client broke a request that is on its way: as a codec does, we answer in place of who never hears its end. */
  #broken(detail: string): void {
    const client = this.#client;
    const reason = failure("bad_request", detail);
    const { observer } = client;
    this.#sink = undefined;
    client.observer = undefined;
    observer?.onClientGone(reason);
    if (this.#hasAnswered) {
      client.abort(reason);
      return;
    }
    this.#hasAnswered = true;
    const { head, text } = ownAnswer(reason.kind, this.#self);
    client.answer(head);
    client.answerBody(Buffer.from(text));
    client.answerEnd(undefined);
  }

  // ── the answer ──

  interim(status: number, fields: Fields): void {
    this.#client.interim(status, fields);
  }

  answer(head: AnswerHead): void {
    this.#hasAnswered = true;
    const { fields } = head;
    this.#hasStatus = fieldValue(fields, "grpc-status") !== undefined;
    if (isGrpc(fields) || (this.#hasStatus && head.body === 0)) {
      this.#messages = new GrpcMessages();
      removeFields(fields, REPLACED);
      fields.push("content-type", this.#call.answerType);
      // Trailers alone stay where they are: clients look for a status in the head as well.
      if (!this.#hasStatus) head.body = BODY_UNKNOWN;
    }
    this.#client.answer(head);
  }

  answerBody(chunk: Buffer): boolean {
    const messages = this.#messages;
    if (messages === undefined) return this.#client.answerBody(chunk);
    const { length } = chunk;
    if (!this.#call.wantsText) {
      for (let at = 0; at < length; ) at = messages.next(chunk, at);
      return this.#client.answerBody(chunk);
    }
    let text = "";
    for (let at = 0; at < length; ) {
      const end = messages.next(chunk, at);
      // A message that has come is readable at once; inside of one nobody waits for its bytes one by one.
      text += this.#encoder.encode(chunk, at, end, messages.isBetween);
      at = end;
    }
    return text === "" || this.#client.answerBody(Buffer.from(text, "latin1"));
  }

  answerEnd(trailers: Fields | undefined): void {
    const client = this.#client;
    if (this.#messages === undefined) {
      client.answerEnd(trailers);
      return;
    }
    // To the client what followed would be the rest of the message.
    if (!this.#messages.isBetween) {
      client.abort(failure("answer_truncated", "inside a message"));
      return;
    }
    const last = trailers ?? [];
    if (last.length > 0 || !this.#hasStatus) this.#sayTrailers(last);
    client.answerEnd(undefined);
  }

  #sayTrailers(trailers: Fields): void {
    const frame = trailersFrame(trailers);
    if (!this.#call.wantsText) this.#client.answerBody(frame);
    else {
      const text = this.#encoder.encode(frame, 0, frame.length, true);
      this.#client.answerBody(Buffer.from(text, "latin1"));
    }
  }

  abort(reason: Failure): void {
    this.#client.abort(reason);
  }
}
