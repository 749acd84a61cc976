import type { Millis } from "#kernel/brand.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";

/*
 * The Exchange: one request and its answer, whatever protocol carries either side. Codecs end here;
 * routing, retries, balancing, policy and telemetry stand above and exist once.
 *
 *   client ── codec ──> Exchange ──> Handler ──> UpstreamStream ── codec ──> endpoint
 *   client <── codec ── Exchange <── AnswerSink <───────────────── codec ─── endpoint
 *
 * All calls are synchronous. Head fields are one flat list, names in lower case:
 * [name, value, name, value, …]. Bodies are Buffers that the receiver must not keep
 * beyond the call (they may be slices of a recycled read buffer): copy to keep.
 *
 * After an answer of 101, or of 2xx to CONNECT, the exchange is a tunnel: what were bodies are the bytes
 * of the new protocol, both ways, each with its own end. `readBody` is called after `answer` then.
 */

/** Flat list: name, value, name, value. Names in lower case. */
export type Fields = string[];

export interface RequestHead {
  method: string;
  /** Origin form: path and query; `*` for OPTIONS; host and port for CONNECT. */
  target: string;
  /** Host and, if given, port; lower case. */
  authority: string;
  /** End-to-end fields: without `host`, framing and hop-by-hop fields. */
  fields: Fields;
  /** How the body is framed: none, `bytes` of it, or of a length known only at its end. */
  body: BodyLength;
  /** The protocol that the client asks to switch to (RFC 9110 §7.8), as it wrote it; undefined: none. */
  upgrade: string | undefined;
  /** The client takes trailers (`TE: trailers`). */
  takesTrailers: boolean;
  /** Names of fields that no hop may index (RFC 7541 §7.1.3), as HTTP/2 has said; absent: none. */
  neverIndexed?: readonly string[] | undefined;
}

/** ≥ 0: that many bytes. -1: unknown length (chunked, or until close for an answer). */
export type BodyLength = number;
export const BODY_UNKNOWN: BodyLength = -1;

export interface AnswerHead {
  status: number;
  /** Empty: the codec writes the standard phrase. */
  reason: string;
  /** End-to-end fields, without framing and hop-by-hop fields. */
  fields: Fields;
  body: BodyLength;
  /** Of a 101: the protocol switched to. */
  upgrade: string | undefined;
  /** As of a request. */
  neverIndexed?: readonly string[] | undefined;
}

/** Whether this answer makes a tunnel of its exchange (RFC 9110 §7.8, §9.3.6). */
export function opensTunnel(method: string, status: number): boolean {
  return status === 101 || (method === "CONNECT" && status >= 200 && status < 300);
}

/** Asks the next gateway to pass a connection on as it is. */
export const TCP_UPGRADE = "espalier-tcp";

/** Takes a request's body as it arrives. */
export interface BodySink {
  /** False: pause; the source goes on when `Exchange.resumeBody()` is called. */
  onBody(chunk: Buffer): boolean;
  onBodyEnd(trailers: Fields | undefined): void;
}

/** How the clients of a listener are treated, beyond its codec. */
export interface ClientPolicy {
  /** How long an answer or a tunnel may stand still. */
  readonly streamIdleMs: Millis;
  /** Writes RFC 7239 `Forwarded` as well. */
  readonly forwarded: boolean;
  /** Share of requests in the access log; undefined: there is none. */
  readonly accessLogShare: number | undefined;
  /** Addresses that may ask which way their requests go; absent: none may. */
  readonly debugFrom?: { has(address: string): boolean } | undefined;
}

/** As RFC 9110 §2.5 and Via write it. */
export type HttpVersion = "1.0" | "1.1" | "2.0";

/** One request as its downstream codec shows it, and the only way to answer it. */
export interface Exchange {
  readonly head: RequestHead;
  /** Who is at the other end of the connection. */
  readonly peer: Peer;
  /** Name of the listener that accepted it. */
  readonly listener: string;
  /** As the client speaks it. */
  readonly httpVersion: HttpVersion;
  /** It came over TLS that ends here. */
  readonly secure: boolean;
  /** Hosts that its TLS server name lets it ask for: a name or a wildcard; undefined: all. */
  readonly servedHosts: string | undefined;
  /** A whole connection, not a request: goes to `tcp` services. */
  readonly raw: boolean;
  /** Of a raw one: the name in its ClientHello; undefined: none. */
  readonly serverName: string | undefined;
  readonly policy: ClientPolicy;

  /** Starts the flow of the request's body. Until then the codec holds it back, bounded. */
  readBody(sink: BodySink): void;
  resumeBody(): void;

  /** An interim answer: 100, 103. */
  interim(status: number, fields: Fields): void;
  /** The answer's head; once. */
  answer(head: AnswerHead): void;
  /** False: the client reads slowly; `AnswerDrain.onAnswerDrain` says when to go on. */
  answerBody(chunk: Buffer): boolean;
  answerEnd(trailers: Fields | undefined): void;
  /** Cuts the answer short so that the client can tell (close, RST_STREAM). */
  abort(failure: Failure): void;

  /** What is written down of it, used again for the next request of a connection; undefined: nothing. */
  log: AccessEntry | undefined;

  /** Who is told of the client's side after the head: set by the handler, at once. */
  observer: ExchangeObserver | undefined;
}

/** What a downstream codec tells the handler about a running exchange. */
export interface ExchangeObserver {
  /** The client went away, or broke the protocol, before the answer was complete. */
  onClientGone(failure: Failure): void;
  /** The client has read what was pending: the upstream may go on. */
  onAnswerDrain(): void;
}

/** The one who takes requests from codecs. */
export interface Handler {
  onRequest(exchange: Exchange): void;
}

/** Takes an endpoint's answer, from an upstream codec. Nothing follows `onAnswerEnd` or `onFailure`. */
export interface AnswerSink {
  onInterim(status: number, fields: Fields): void;
  onAnswer(head: AnswerHead): void;
  /** False: pause; the codec goes on when `UpstreamStream.resume()` is called. */
  onAnswerBody(chunk: Buffer): boolean;
  onAnswerEnd(trailers: Fields | undefined): void;
  /** The endpoint has read what was pending of the request's body. */
  onRequestDrain(): void;
  onFailure(failure: Failure): void;
}

/**
 * How far a request has come on its way: it `waits` for its turn, its connection is being opened, or it has
 * `begun` to leave. Before that no endpoint can have seen it.
 */
export type Stage = "waits" | "connects" | "begun";

/** One request on its way to an endpoint. */
export interface UpstreamStream {
  readonly stage: Stage;
  /** False: pause; `AnswerSink.onRequestDrain` says when to go on. */
  sendBody(chunk: Buffer): boolean;
  sendEnd(trailers: Fields | undefined): void;
  /** Goes on reading the answer after `onAnswerBody` returned false. */
  resume(): void;
  /** Gives the request up; the sink hears nothing more. */
  cancel(): void;
}
