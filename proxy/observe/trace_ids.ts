import type { Rng } from "#kernel/rng.ts";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Ids of requests and traces: 32 hex digits, unique for all practical purposes, not secret. */
export class TraceIds {
  readonly #rng: Rng;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  next(): string {
    return this.#word() + this.#word() + this.#word() + this.#word();
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
