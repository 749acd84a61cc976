import type { ClientRules } from "#model/snapshot.ts";

/** Bounds of one connection. Each has an answer or an end when it is passed. */
export interface ConnectionLimits {
  /** Bytes of a head, request or answer: 431. */
  readonly headBytesMax: number;
  /** Fields of a head: 431. */
  readonly fieldsMax: number;
  /** Bytes of a request target: 414. */
  readonly targetBytesMax: number;
  /** Bytes of a chunk's size line, extensions included: 400. */
  readonly chunkLineBytesMax: number;
  /** Bytes of all chunk extensions of one body: 400. Nobody needs them, and each is work. */
  readonly chunkExtensionBytesMax: number;
  /** Interim answers of an endpoint to one request: 502. */
  readonly interimMax: number;
  /** From the first byte of a head, or from the connection's start, to the head's end, ms: 408. */
  readonly headTimeoutMs: number;
  /** Between two requests, or without taking any of an answer, ms: the connection is closed. */
  readonly idleTimeoutMs: number;
  /** Without a byte of a request's body, while we are ready to read, ms: 408. */
  readonly bodyTimeoutMs: number;
  /** Bytes of pipelined requests that are kept while one is answered; then we stop reading. */
  readonly pipelineBytesMax: number;
}

/** The limits in force where nothing else is said. */
export const CONNECTION_LIMITS: ConnectionLimits = {
  headBytesMax: 65_536,
  fieldsMax: 128,
  targetBytesMax: 16_384,
  chunkLineBytesMax: 256,
  chunkExtensionBytesMax: 16_384,
  interimMax: 32,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  bodyTimeoutMs: 30_000,
  pipelineBytesMax: 65_536,
};

/** How long a client that has said nothing yet is waited for while its port drains. */
export const FIRST_REQUEST_MS = 1_000;

/** The limits of a listener. */
export function limitsOf(rules: ClientRules | undefined): ConnectionLimits {
  if (rules === undefined) return CONNECTION_LIMITS;
  return {
    headBytesMax: rules.headBytesMax ?? CONNECTION_LIMITS.headBytesMax,
    fieldsMax: rules.fieldsMax ?? CONNECTION_LIMITS.fieldsMax,
    targetBytesMax: rules.targetBytesMax ?? CONNECTION_LIMITS.targetBytesMax,
    chunkLineBytesMax: CONNECTION_LIMITS.chunkLineBytesMax,
    chunkExtensionBytesMax: CONNECTION_LIMITS.chunkExtensionBytesMax,
    interimMax: CONNECTION_LIMITS.interimMax,
    headTimeoutMs: rules.headTimeoutMs ?? CONNECTION_LIMITS.headTimeoutMs,
    idleTimeoutMs: rules.idleTimeoutMs ?? CONNECTION_LIMITS.idleTimeoutMs,
    bodyTimeoutMs: rules.bodyTimeoutMs ?? CONNECTION_LIMITS.bodyTimeoutMs,
    pipelineBytesMax: CONNECTION_LIMITS.pipelineBytesMax,
  };
}
