import type { AnswerHead, Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { isGrpc, MESSAGE_PREFIX_BYTES } from "#proxy/exchange/grpc.ts";
import { FieldReader } from "#proxy/exchange/protobuf_fields.ts";

/*
 * grpc.health.v1 (grpc/grpc, doc/health-checking.md) by hand: one field each way. What comes back is an endpoint's word
 * and may be anything; whatever is not exactly one answer that says SERVING, with status OK, is no sign of health.
 */

/** The method that is called. */
export const HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check";

/** More than any answer of the protocol has, with room for fields that are not known here. */
const ANSWER_BYTES_MAX = 1_024;
const STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"] as const;
const SERVING = 1;

const OK = "0";
const NOT_FOUND = "5";
const UNIMPLEMENTED = "12";

/** What an answer comes to, and why. */
export interface HealthAnswer {
  readonly ok: boolean;
  readonly reason: string;
}

/** A request's body. @param service that is asked about; empty: the whole server. */
export function healthRequest(service: string): Buffer {
  const name = Buffer.from(service, "utf8");
  const field = name.length === 0 ? [] : [0x0a, ...varint(name.length)];
  const body = Buffer.alloc(MESSAGE_PREFIX_BYTES + field.length + name.length);
  body.writeUInt32BE(field.length + name.length, 1);
  body.set(field, MESSAGE_PREFIX_BYTES);
  body.set(name, MESSAGE_PREFIX_BYTES + field.length);
  return body;
}

/** An answer as it comes. */
export class HealthAnswerReader {
  readonly #bytes = Buffer.alloc(ANSWER_BYTES_MAX);
  #length = 0;
  /** `grpc-status` of an answer that has no body: it stands in the head then. */
  #status: string | undefined = undefined;

  /** What is wrong with it already; undefined: nothing yet. */
  head(head: AnswerHead): string | undefined {
    if (head.status !== 200) return `HTTP ${head.status}`;
    if (!isGrpc(head.fields)) return "no gRPC";
    this.#status = fieldValue(head.fields, "grpc-status");
    return undefined;
  }

  /** What is wrong with it already; undefined: nothing yet. */
  body(chunk: Buffer): string | undefined {
    if (this.#length + chunk.length > ANSWER_BYTES_MAX) return "answer too long";
    this.#length += chunk.copy(this.#bytes, this.#length);
    return undefined;
  }

  /** It has come whole. */
  end(trailers: Fields | undefined): HealthAnswer {
    const status = fieldValue(trailers ?? [], "grpc-status") ?? this.#status;
    if (status !== OK) return { ok: false, reason: callFailure(status) };
    const said = statusOf(this.#bytes.subarray(0, this.#length));
    if (said === undefined) return { ok: false, reason: "malformed answer" };
    return { ok: said === SERVING, reason: STATUSES[said] ?? "UNKNOWN" };
  }
}

/**
 * Who asks for checks of an endpoint that cannot be checked learns it at once: UNIMPLEMENTED and NOT_FOUND are as
 * bad as NOT_SERVING, to Envoy and the kubelet as well.
 */
function callFailure(status: string | undefined): string {
  if (status === undefined) return "no grpc-status";
  if (status === UNIMPLEMENTED) return "UNIMPLEMENTED: has no grpc.health.v1";
  if (status === NOT_FOUND) return "NOT_FOUND: does not know the service";
  return /^\d{1,3}$/.test(status) ? `grpc-status ${status}` : "malformed grpc-status";
}

/** The `status` field of the one message in `body`; undefined: it is no such message, or not the only one. */
function statusOf(body: Buffer): number | undefined {
  // No encoding was offered: nothing may be compressed.
  if (body.length < MESSAGE_PREFIX_BYTES || body[0] !== 0) return undefined;
  if (body.readUInt32BE(1) !== body.length - MESSAGE_PREFIX_BYTES) return undefined;
  const reader = new FieldReader(body.subarray(MESSAGE_PREFIX_BYTES));
  let status = 0;
  while (!reader.atEnd) {
    const tag = reader.varint();
    // Of a field that is there twice, the last one counts.
    if (tag === STATUS_TAG) status = reader.varint();
    else reader.skip(tag);
    if (reader.broken) return undefined;
  }
  return status;
}

/** Field 1, a varint. */
const STATUS_TAG = 0x08;

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}
