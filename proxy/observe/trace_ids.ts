import type { Rng } from "#kernel/rng.ts";

/** Characters of the hexadecimal digits. */
const DIGITS = Uint8Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
/** `00-`, the trace's id, `-`, the span's id, `-00`: W3C Trace Context §3.2. */
const TEMPLATE = `00-${"0".repeat(32)}-${"0".repeat(16)}-00`;
const ID_AT = 3;
const ID_END = 35;
const SPAN_AT = 36;
const WORD = 8;

/**
 * Ids of requests and traces: 32 hex digits, unique for all practical purposes, not secret. The first half
 * is this process's, the second each one's: the random part of W3C Trace Context level 2 is the last one.
 */
export class TraceIds {
  readonly #rng: Rng;
  /** A `traceparent` in the making: one text is made of it, and nothing is put together from pieces. */
  readonly #parent = Buffer.from(TEMPLATE, "latin1");

  constructor(rng: Rng) {
    this.#rng = rng;
    this.#word(ID_AT);
    this.#word(ID_AT + WORD);
  }

  next(): string {
    this.#fillId();
    return this.#parent.latin1Slice(ID_AT, ID_END);
  }

  /** A `traceparent` of a trace that begins, unsampled. */
  nextParent(): string {
    this.#fillId();
    this.#word(SPAN_AT);
    this.#word(SPAN_AT + WORD);
    return this.#parent.latin1Slice(0, TEMPLATE.length);
  }

  #fillId(): void {
    this.#word(ID_AT + 2 * WORD);
    this.#word(ID_AT + 3 * WORD);
  }

  #word(at: number): void {
    let bits = this.#rng.below(0x1_0000_0000);
    for (let i = at + WORD - 1; i >= at; i--) {
      this.#parent[i] = DIGITS[bits & 15]!;
      bits >>>= 4;
    }
  }
}

/** The trace's id in a `traceparent` of ours. */
export function idOf(parent: string): string {
  return parent.slice(ID_AT, ID_END);
}
