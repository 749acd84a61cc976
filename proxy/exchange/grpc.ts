import type { Millis } from "#kernel/brand.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { FAILURES, type FailureName } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

/*
 * gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): a request whose answer has its status in trailers, and which
 * says itself how long it may take.
 */

/** Status codes of gRPC (doc/statuscodes.md). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** Their names, each at its number. */
export const GRPC_STATUS_NAMES = Object.keys(GrpcStatus);

/** What a content type says of a call or its answer. */
export interface GrpcType {
  /** Of gRPC-Web (doc/PROTOCOL-WEB.md), not of gRPC itself. */
  readonly web: boolean;
  /** The body is base64. */
  readonly text: boolean;
  /** Of the messages: `+proto` or the like in lower case; empty: not said. */
  readonly codec: string;
}

const PREFIX = "application/grpc";
/** Where `grpc` begins in it. */
const G_AT = 12;
const TYPE = /^application\/grpc(-web(-text(?:-base64)?)?)?(\+[\w.+!#$&^-]+)?[ \t]*(?:;|$)/i;
const PLAIN: GrpcType = { web: false, text: false, codec: "" };

/** Undefined: it is of something else. Media types have no case (RFC 9110 §8.3.1). */
export function grpcTypeOf(fields: Fields): GrpcType | undefined {
  const type = fieldValue(fields, "content-type");
  // All but a few are told without the expression: calls say just this, what is no call differs by a letter.
  if (type === PREFIX) return PLAIN;
  if (type === undefined || (type.charCodeAt(G_AT) | 0x20) !== 0x67) return undefined;
  const found = TYPE.exec(type);
  if (found === null) return undefined;
  const [, web, text, codec = ""] = found;
  return { web: web !== undefined, text: text !== undefined, codec: codec.toLowerCase() };
}

/** Before each message: flags, and its length in four bytes (doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message). */
export const MESSAGE_PREFIX_BYTES = 5;

/** True of gRPC's own content types, `application/grpc+proto` among them; not of gRPC-Web. */
export function isGrpc(fields: Fields): boolean {
  return grpcTypeOf(fields)?.web === false;
}

/** ms of each unit, by its letter. */
const UNIT_MS: ReadonlyMap<string, Millis> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1_000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);
const DIGITS_MAX = 8;

/** `grpc-timeout`: what the client gives the call, at least 1 ms; undefined: it does not say, or not so that we understand. */
export function grpcTimeout(fields: Fields): Millis | undefined {
  const said = fieldValue(fields, "grpc-timeout");
  if (said === undefined) return undefined;
  const digits = said.length - 1;
  const unit = UNIT_MS.get(said.slice(digits));
  if (unit === undefined || digits < 1 || digits > DIGITS_MAX) return undefined;
  let value = 0;
  for (let i = 0; i < digits; i++) {
    const digit = said.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return Math.max(1, value * unit);
}

const ZERO = 48;

/** Units that a time is told in, the finest first: at most eight digits each (doc/PROTOCOL-HTTP2.md). */
const TELLING = [
  [1, "m"],
  [1_000, "S"],
  [60_000, "M"],
  [3_600_000, "H"],
] as const;

/** The same fields, with what remains of the time. */
export function withGrpcTimeout(fields: Fields, leftMs: Millis): Fields {
  const next = fields.slice();
  const left = Math.max(1, Math.round(leftMs));
  const [ms, letter] = TELLING.find(([unit]) => left / unit < 1e8)!;
  const value = `${Math.floor(left / ms)}${letter}`;
  for (let i = 0; i < next.length; i += 2) if (next[i] === "grpc-timeout") next[i + 1] = value;
  return next;
}

/**
 * The status of a call whose answer has ended. Where the endpoint said none, what its HTTP status stands for
 * (doc/http-grpc-status-mapping.md).
 * @param last its trailers, or the fields of an answer that is trailers alone.
 */
export function grpcStatusOfAnswer(status: number, last: Fields | undefined): number {
  const said = last === undefined ? undefined : fieldValue(last, "grpc-status");
  if (said !== undefined) {
    return CODE.test(said) && Number(said) < GRPC_STATUS_NAMES.length
      ? Number(said)
      : GrpcStatus.UNKNOWN;
  }
  return HTTP_STATUS_MEANS.get(status) ?? GrpcStatus.UNKNOWN;
}

const CODE = /^\d{1,2}$/;
const HTTP_STATUS_MEANS: ReadonlyMap<number, number> = new Map([
  [400, GrpcStatus.INTERNAL],
  [401, GrpcStatus.UNAUTHENTICATED],
  [403, GrpcStatus.PERMISSION_DENIED],
  [404, GrpcStatus.UNIMPLEMENTED],
  [429, GrpcStatus.UNAVAILABLE],
  [502, GrpcStatus.UNAVAILABLE],
  [503, GrpcStatus.UNAVAILABLE],
  [504, GrpcStatus.UNAVAILABLE],
]);

/** Statuses that speak against the endpoint, as a 5xx does; others are the caller's business, or its deadline's. */
export function isEndpointsFault(status: number): boolean {
  return (
    status === GrpcStatus.UNKNOWN ||
    status === GrpcStatus.INTERNAL ||
    status === GrpcStatus.UNAVAILABLE ||
    status === GrpcStatus.DATA_LOSS
  );
}

/**
 * `grpc-retry-pushback-ms` (gRFC A6): how long the endpoint wants the call not to be sent again; infinite if it is
 * to be left alone, undefined if it does not say.
 */
export function retryPushback(fields: Fields): Millis | undefined {
  const said = fieldValue(fields, "grpc-retry-pushback-ms");
  if (said === undefined) return undefined;
  return /^\d{1,9}$/.test(said) ? Number(said) : Number.POSITIVE_INFINITY;
}

/** As a client is to see a failure of ours (doc/http-grpc-status-mapping.md, where it says something of it). */
export function grpcStatusOf(kind: FailureName): number {
  if (kind === "client_closed") return GrpcStatus.CANCELLED;
  if (kind === "overloaded" || kind === "rate_limited") return GrpcStatus.RESOURCE_EXHAUSTED;
  if (kind === "deadline" || kind === "try_timeout" || kind === "stream_idle") {
    return GrpcStatus.DEADLINE_EXCEEDED;
  }
  const { status } = FAILURES[kind];
  if (status === 403) return GrpcStatus.PERMISSION_DENIED;
  if (status === 404) return GrpcStatus.UNIMPLEMENTED;
  return status >= 502 && status <= 504 ? GrpcStatus.UNAVAILABLE : GrpcStatus.INTERNAL;
}
