import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { saysNoBody } from "#proxy/http1/serializer.ts";
import { blockRoom, type HpackEncoder } from "#proxy/http2/hpack_encoder.ts";

/*
 * From the heads of an Exchange to header blocks. All writers put a block at `at` and return its end; negative: the
 * bytes of room that are surely enough, negated, and nothing has changed. `neverIndexed` are the names that the
 * hop before has marked so. Names and values were validated by the parser that made them, or are our own.
 */

/** Fields that a writer adds, and characters of their names and of what else is fixed in them. */
const OWN_FIELDS = 7;
const OWN_CHARACTERS = 128;

/** A request's head. One that asks to switch protocols is an extended CONNECT (RFC 8441 §4). */
export function encodeRequest(
  encoder: HpackEncoder,
  head: RequestHead,
  scheme: "http" | "https",
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number {
  const { method, target, authority, fields, body, upgrade } = head;
  const own = method.length + target.length + authority.length + (upgrade?.length ?? 0);
  const room = roomOf(fields, own);
  if (!encoder.begin(into, at, room)) return -room;
  if (method === "CONNECT") {
    encoder.put(":method", method, false);
    encoder.put(":authority", target, false);
  } else {
    encoder.put(":method", upgrade === undefined ? method : "CONNECT", false);
    encoder.put(":scheme", scheme, false);
    encoder.put(":authority", authority, false);
    encoder.put(":path", target, false);
    if (upgrade !== undefined) encoder.put(":protocol", upgrade, false);
  }
  putFields(encoder, fields, neverIndexed);
  if (head.takesTrailers) encoder.put("te", "trailers", false);
  if (body > 0 || (body === 0 && saysNoBody(method))) {
    encoder.put("content-length", String(body), false);
  }
  return encoder.end();
}

/** An answer's head. A 101 becomes 200: only an extended CONNECT may get it (RFC 8441 §5). */
export function encodeAnswer(
  encoder: HpackEncoder,
  head: AnswerHead,
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number {
  const { fields, body } = head;
  const room = roomOf(fields, 0);
  if (!encoder.begin(into, at, room)) return -room;
  encoder.put(":status", head.status === 101 ? "200" : String(head.status), false);
  putFields(encoder, fields, neverIndexed);
  if (body > 0) encoder.put("content-length", String(body), false);
  return encoder.end();
}

/** An interim answer: 100, 103. */
export function encodeInterim(
  encoder: HpackEncoder,
  status: number,
  fields: Fields,
  into: Buffer,
  at: number,
): number {
  const head: AnswerHead = { status, reason: "", fields, body: 0, upgrade: undefined };
  return encodeAnswer(encoder, head, undefined, into, at);
}

/** Trailers, of a request or an answer. */
export function encodeTrailers(
  encoder: HpackEncoder,
  fields: Fields,
  neverIndexed: readonly string[] | undefined,
  into: Buffer,
  at: number,
): number {
  const room = roomOf(fields, 0);
  if (!encoder.begin(into, at, room)) return -room;
  putFields(encoder, fields, neverIndexed);
  return encoder.end();
}

function roomOf(fields: Fields, own: number): number {
  let characters = own + OWN_CHARACTERS;
  for (let i = 0; i < fields.length; i++) characters += fields[i]!.length;
  return blockRoom((fields.length >> 1) + OWN_FIELDS, characters);
}

function putFields(
  encoder: HpackEncoder,
  fields: Fields,
  neverIndexed: readonly string[] | undefined,
): void {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    encoder.put(name, fields[i + 1]!, neverIndexed?.includes(name) ?? false);
  }
}
