import type { Rng } from "#kernel/rng.ts";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/**
 * Ids of requests and traces: 32 hex digits, unique for all practical purposes, not secret. The first half
 * is this process's, the second each one's: the random part of W3C Trace Context level 2 is the last one.
 */
export class TraceIds {
  readonly #rng: Rng;
  readonly #process: string;

  constructor(rng: Rng) {
    this.#rng = rng;
    this.#process = this.#word() + this.#word();
  }

  next(): string {
    return this.#process + this.#word() + this.#word();
  }

  /** Of a span: 16 hex digits. */
  nextSpan(): string {
    return this.#word() + this.#word();
  }

  #word(): string {
    const bits = this.#rng.below(0x1_0000_0000);
    return (
      HEX[bits >>> 24]! + HEX[(bits >>> 16) & 255]! + HEX[(bits >>> 8) & 255]! + HEX[bits & 255]!
    );
  }
}
