import { FAILED_FIELD, LEFT_FIELD, REFUSED_FIELD, TRACE_FIELD } from "#proxy/authorize/hop.ts";
import type { Exchange, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure } from "#proxy/exchange/failure.ts";
import { grpcStatusOf, isGrpc } from "#proxy/exchange/grpc.ts";
import { ownAnswer } from "#proxy/exchange/own_answer.ts";
import { readGrpcWeb } from "#proxy/filter/grpc_web.ts";
import type { AnswerEdit } from "#proxy/relay/plan.ts";
import { ROUTE_FIELD } from "#proxy/relay/route_trace.ts";

/** What else the answer says. */
export interface FailureAnswer {
  /** Name of this proxy in `Proxy-Status`: its cluster. */
  readonly self: string;
  /** True if no endpoint can have acted on the request: told to gateways, who may then try elsewhere. */
  readonly untouched: boolean;
  /** Of the retries that came with it, those that are left, where that has to be said. */
  readonly retriesLeft?: number | undefined;
  /** What its route does to answers: a page of another origin may read ours only if CORS says so. */
  readonly edit?: AnswerEdit | undefined;
  /** Which way it went, if whoever asks wants to know. */
  readonly trace?: string | undefined;
}

/** Answers `exchange` for `failure`: the only place where the proxy speaks for itself. */
export function answerFailure(exchange: Exchange, failure: Failure, about: FailureAnswer): void {
  const kind = FAILURES[failure.kind];
  if (kind.status === 0) {
    exchange.abort(failure);
    return;
  }
  // A gateway is told in HTTP: it may try elsewhere.
  const callType = exchange.peer.kind === "gateway" ? undefined : answerTypeOf(exchange.head);
  if (callType !== undefined) {
    answerGrpc(exchange, callType, failure, about);
    return;
  }
  const { head, text } = ownAnswer(failure.kind, about.self);
  // RFC 9110 §15.5.6: it says what is allowed. Of a tunnel's target there is nothing else.
  if (kind.status === 405) head.fields.push("allow", "");
  if (kind.status === 503 || failure.retryAfterMs !== undefined) {
    head.fields.push("retry-after", String(wholeSeconds(failure.retryAfterMs ?? 0)));
  }
  if (failure.limit !== undefined) tellLimit(head.fields, failure.limit, failure.retryAfterMs ?? 0);
  if (exchange.peer.kind === "gateway") {
    head.fields.push(about.untouched ? REFUSED_FIELD : FAILED_FIELD, failure.kind);
    if (about.retriesLeft !== undefined) head.fields.push(LEFT_FIELD, String(about.retriesLeft));
  }
  if (about.trace !== undefined) pushTrace(exchange, about.trace, head.fields);
  about.edit?.(head.fields, undefined);
  exchange.answer(head);
  exchange.answerBody(Buffer.from(text));
  exchange.answerEnd(undefined);
}

/** Tells which way a request went: a gateway for its own answer, a client in plain sight. */
export function pushTrace({ peer }: Exchange, trace: string, fields: Fields): void {
  fields.push(peer.kind === "gateway" ? TRACE_FIELD : ROUTE_FIELD, trace);
}

/** The content type that answers a call; undefined: it is none. */
function answerTypeOf(head: RequestHead): string | undefined {
  return isGrpc(head.fields) ? "application/grpc" : readGrpcWeb(head)?.answerType;
}

/** Trailers alone: an answer of gRPC without a message, which gRPC-Web has just so. */
function answerGrpc(
  exchange: Exchange,
  type: string,
  { kind, retryAfterMs }: Failure,
  { self, edit, trace }: FailureAnswer,
): void {
  const fields = ["content-type", type];
  fields.push("grpc-status", String(grpcStatusOf(kind)), "grpc-message", `${self}: ${kind}`);
  fields.push("proxy-status", `${self}; error=${FAILURES[kind].proxyError}`);
  // gRFC A6: a client that retries waits for so long.
  if (retryAfterMs !== undefined) {
    fields.push("grpc-retry-pushback-ms", String(Math.ceil(retryAfterMs)));
  }
  if (trace !== undefined) pushTrace(exchange, trace, fields);
  edit?.(fields, undefined);
  exchange.answer({ status: 200, reason: "", fields, body: 0, upgrade: undefined });
  exchange.answerEnd(undefined);
}

/** `Retry-After` knows seconds only (RFC 9110 §10.2.3); 0 would be no wait at all. */
function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000));
}

/** What the limit is and that nothing of it is left, for programs (draft-ietf-httpapi-ratelimit-headers). */
function tellLimit(
  fields: Fields,
  { name, rate }: NonNullable<Failure["limit"]>,
  ms: number,
): void {
  const title = `"${name.replace(/[^\x20-\x7e]/g, "_").replace(/["\\]/g, "\\$&")}"`;
  // Of a rate below one per second: in how many seconds there is one.
  const seconds = wholeSeconds(1_000 / rate);
  fields.push("ratelimit-policy", `${title};q=${Math.floor(rate * seconds)};w=${seconds}`);
  fields.push("ratelimit", `${title};r=0;t=${wholeSeconds(ms)}`);
}
