import { ParsedFields } from "#proxy/http1/parser_fields.ts";

/** Longer blocks are read anew each time: a connection shall not hold much while it is idle. */
const BLOCK_BYTES_MAX = 2_048;
/** After so many differences in a row the connection carries requests of many: looking costs, finding is rare. */
const MISSES_MAX = 16;
const CR = 13;

/**
 * The fields of a connection's last request, as bytes and as they were read. Most clients send the same
 * ones again and again, with another target: comparing them is far quicker than reading them. Equal
 * bytes under equal limits mean equal fields, so nothing is believed that was not read once.
 */
export class HeadMemo {
  /** What the last block said; after a match its list of fields must be copied, not changed. */
  readonly parsed = new ParsedFields();
  /** After `endOf` has found something: where the request line ends. */
  lineEnd = 0;
  #block: Buffer | undefined = undefined;
  #length = 0;
  #misses = 0;

  /** Where the head that begins at `from` ends, if its fields are the last ones; -1: they must be read. */
  endOf(buffer: Buffer, from: number): number {
    if (this.#length <= 0) return -1;
    const lineEnd = buffer.indexOf(CR, from);
    const end = lineEnd + this.#length;
    if (lineEnd < 0 || end > buffer.length) return -1;
    if (buffer.compare(this.#block!, 0, this.#length, lineEnd, end) !== 0) {
      if (++this.#misses > MISSES_MAX) this.#length = -1;
      return -1;
    }
    this.#misses = 0;
    this.lineEnd = lineEnd;
    return end;
  }

  /** Forgets the block. Returns where to read the fields of the next one. */
  begin(): ParsedFields {
    if (this.#length > 0) this.#length = 0;
    return this.parsed;
  }

  /**
   * Keeps the block whose fields have been read since `begin`. @param lineEnd where the request line ended.
   * @param end after the empty line.
   */
  keep(buffer: Buffer, lineEnd: number, end: number): void {
    const length = end - lineEnd;
    if (this.#length < 0 || length > BLOCK_BYTES_MAX) return;
    if (this.#block === undefined || this.#block.length < length) {
      this.#block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES_MAX, (length + 255) & ~255));
    }
    buffer.copy(this.#block, 0, lineEnd, end);
    this.#length = length;
    // The list itself has gone with the request, and is changed on its way.
    this.parsed.fields = this.parsed.fields.slice();
  }
}
