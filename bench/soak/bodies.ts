import { randomBytes } from "node:crypto";

const SOURCE_BYTES = 4_194_304;
const STEP = 61;
const SOURCE = randomBytes(SOURCE_BYTES);

/** The most that one body may have. */
export const BODY_MAX = 524_288;

/** A body that no other stream near it has: a part of one long random text. @param bytes up to `BODY_MAX`. */
export function bodyOf(stream: number, bytes: number): Buffer {
  const from = (stream * STEP) % (SOURCE_BYTES - BODY_MAX);
  return SOURCE.subarray(from, from + bytes);
}

/** Holds what comes of a body against what is due, piece by piece: nothing is kept. */
export class Expected {
  readonly #body: Buffer;
  #at = 0;
  /** A byte was not in its place, or one too many. */
  wrong = false;

  constructor(body: Buffer) {
    this.#body = body;
  }

  take(chunk: Buffer): void {
    const end = this.#at + chunk.length;
    if (!chunk.equals(this.#body.subarray(this.#at, end))) this.wrong = true;
    this.#at = end;
  }

  get bytes(): number {
    return this.#at;
  }

  get complete(): boolean {
    return !this.wrong && this.#at === this.#body.length;
  }
}
