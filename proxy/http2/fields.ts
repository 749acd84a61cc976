import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import type { Http1Limits } from "#proxy/http1/limits.ts";
import type { HeaderBlock } from "#proxy/http2/hpack_decoder.ts";
import type { HpackEncoder } from "#proxy/http2/hpack_encoder.ts";

/**
 * A request, or why not: `bad_request` is a stream error PROTOCOL_ERROR, any other kind has an answer of its own.
 * An extended CONNECT (RFC 8441) becomes a GET with `upgrade`.
 */
export declare function readRequest(
  block: HeaderBlock,
  endStream: boolean,
  limits: Pick<Http1Limits, "targetBytesMax">,
): RequestHead | Failure;

/**
 * An answer, interim ones included, or `bad_answer`: a stream error PROTOCOL_ERROR.
 * @param method of the request. @param upgrade what it asked for: 2xx to that becomes 101.
 */
export declare function readAnswer(
  block: HeaderBlock,
  endStream: boolean,
  method: string,
  upgrade: string | undefined,
): AnswerHead | Failure;

/** Trailers, undefined if nothing is left of them, or `bad_request`: a stream error PROTOCOL_ERROR. */
export declare function readTrailers(block: HeaderBlock): Fields | undefined | Failure;

/** Tells what was read from what was refused. */
export declare function isRefused(
  value: RequestHead | AnswerHead | Fields | undefined | Failure,
): value is Failure;

/**
 * The four writers put a header block at `at` and return its end; negative: the bytes of room that are surely
 * enough, negated, and nothing has changed. @param neverIndexed names that the hop before marked so.
 */
export declare function encodeRequest(
  encoder: HpackEncoder,
  head: RequestHead,
  scheme: "http" | "https",
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number;

/** As `encodeRequest`. A 101 becomes 200 (RFC 8441 §5). */
export declare function encodeAnswer(
  encoder: HpackEncoder,
  head: AnswerHead,
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number;

/** As `encodeRequest`. */
export declare function encodeInterim(
  encoder: HpackEncoder,
  status: number,
  fields: Fields,
  into: Buffer,
  at: number,
): number;

/** As `encodeRequest`. */
export declare function encodeTrailers(
  encoder: HpackEncoder,
  fields: Fields,
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number;
