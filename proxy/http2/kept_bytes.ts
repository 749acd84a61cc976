/** Most of a piece that waits for more. */
const PIECE_BYTES = 16_384;
const NOTHING: Buffer[] = [];

/**
 * Bytes that wait, copied. Small ones are put together: whoever sends a byte at a time shall not make us keep an
 * object for each.
 */
export class KeptBytes {
  /** Bytes that wait. */
  size = 0;
  #pieces = NOTHING;
  /** How much of the first piece has been taken, and of the last one is filled. */
  #start = 0;
  #end = 0;

  push(chunk: Buffer): void {
    const { length } = chunk;
    this.size += length;
    if (this.#pieces === NOTHING) this.#pieces = [];
    const last = this.#pieces.at(-1);
    const fits = last === undefined ? 0 : Math.min(length, last.length - this.#end);
    if (fits > 0) this.#end += chunk.copy(last!, this.#end, 0, fits);
    if (fits === length) return;
    // The first is often the only one; those behind it grow.
    const room = last === undefined ? 0 : Math.min(PIECE_BYTES, last.length * 2);
    const piece = Buffer.allocUnsafe(Math.max(length - fits, room));
    this.#pieces.push(piece);
    this.#end = chunk.copy(piece, 0, fits);
  }

  /** Those that came first, as many as lie together; undefined: nothing waits. */
  get first(): Buffer | undefined {
    const piece = this.#pieces[0];
    return piece?.subarray(this.#start, this.#pieces.length === 1 ? this.#end : piece.length);
  }

  /** `bytes` of `first` have been taken. */
  drop(bytes: number): void {
    this.size -= bytes;
    if (this.size === 0) {
      this.clear();
      return;
    }
    this.#start += bytes;
    if (this.#start < this.#pieces[0]!.length) return;
    this.#pieces.shift();
    this.#start = 0;
  }

  clear(): void {
    this.size = 0;
    this.#pieces = NOTHING;
    this.#start = 0;
    this.#end = 0;
  }
}
