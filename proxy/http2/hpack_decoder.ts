import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { FLAWS, Flaw, fieldName } from "#proxy/http2/field_roles.ts";
import { huffmanDecode, huffmanDecodedMax } from "#proxy/http2/hpack_huffman.ts";
import {
  DYNAMIC_INDEX,
  DynamicTable,
  HeaderField,
  STATIC_TABLE,
  TABLE_BYTES_DEFAULT,
} from "#proxy/http2/hpack_table.ts";
import { latin1 } from "#proxy/socket/latin1.ts";

/** How a block ended: `too_large` is in order but for its size, and the tables of both sides still agree. */
export type DecodeVerdict = "ok" | "too_large" | "compression_error";

/** `headBytesMax` counts as SETTINGS_MAX_HEADER_LIST_SIZE does: 32 more for each field. */
export type HeaderListLimits = Pick<ConnectionLimits, "headBytesMax" | "fieldsMax">;

/** The fields of a block. Used again for the next: what is kept must be copied. */
export class HeaderBlock {
  /** The first `count` are this block's. */
  readonly fields: HeaderField[] = [];
  count = 0;
  /**
   * Names of fields that nobody on their way may index (RFC 7541 §6.2.3), each once. A new list for each
   * block; undefined: none.
   */
  neverIndexed: string[] | undefined = undefined;
}

/** Integers beyond are errors (RFC 7541 §5.1): four bytes after the prefix. */
const INTEGER_SHIFT_MAX = 28;

/** Decoded Huffman strings on their way to text; one per process is enough. Grows up to what blocks are bounded to. */
let scratch = Buffer.allocUnsafeSlow(4_096);

/** Reads the header blocks of one direction of one connection, in their order (RFC 7541 §3). */
export class HpackDecoder {
  readonly #table: DynamicTable<HeaderField>;
  /** Our SETTINGS_HEADER_TABLE_SIZE. */
  #allowed: number;
  /** The next block must begin by making its table no larger than this; -1: it need not. */
  #updateDue = -1;
  /** Behind what was read last. */
  #at = 0;
  /** Bits of `Flaw` of the string that was read last. */
  #flaws = 0;

  /** @param tableBytes our SETTINGS_HEADER_TABLE_SIZE as the peer knows it from the start. */
  constructor(tableBytes: number = TABLE_BYTES_DEFAULT) {
    this.#allowed = tableBytes;
    this.#table = new DynamicTable(tableBytes);
  }

  /** The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE of ours (RFC 9113 §4.3.1). */
  tableSizeChanged(bytes: number): void {
    this.#allowed = bytes;
    if (bytes >= this.#table.bytesMax && this.#updateDue < 0) return;
    this.#updateDue = this.#updateDue < 0 ? bytes : Math.min(this.#updateDue, bytes);
  }

  /**
   * Reads a whole block, CONTINUATION joined. Over a bound the rest is read for the tables' sake alone. After
   * a compression error the connection has to end.
   */
  decode(
    buffer: Buffer,
    from: number,
    to: number,
    limits: HeaderListLimits,
    into: HeaderBlock,
  ): DecodeVerdict {
    into.count = 0;
    into.neverIndexed = undefined;
    const { fields } = into;
    const { headBytesMax, fieldsMax } = limits;
    let count = 0;
    let listBytes = 0;
    let fits = true;
    let at = this.#updates(buffer, from, to);
    if (at < 0) return "compression_error";
    while (at < to) {
      const first = buffer[at]!;
      let field: HeaderField | undefined;
      if (first > 0x80 && first < 0xff) {
        // Most fields of most heads.
        const index = first & 0x7f;
        field =
          index < DYNAMIC_INDEX ? STATIC_TABLE[index - 1] : this.#table.at(index - DYNAMIC_INDEX);
        at++;
      } else if (first >= 0x80) {
        field = this.#indexed(this.#integer(buffer, at, to, 0x7f));
        at = this.#at;
      } else {
        // Nothing becomes of it: it need not become text.
        const unused = !fits && first < 0x40;
        field = unused ? this.#skip(buffer, at, to) : this.#literal(buffer, at, to, first);
        at = this.#at;
        if (field !== undefined && !unused && (first & 0xf0) === 0x10) {
          into.neverIndexed ??= [];
          if (fits && !into.neverIndexed.includes(field.name)) into.neverIndexed.push(field.name);
        }
      }
      if (field === undefined) return "compression_error";
      listBytes += field.size;
      fits = fits && listBytes <= headBytesMax && count < fieldsMax;
      if (fits) fields[count++] = field;
    }
    into.count = count;
    return fits ? "ok" : "too_large";
  }

  /** Size updates, which stand before all fields (RFC 7541 §4.2). Returns where the fields begin; -1: an error. */
  #updates(buffer: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && (buffer[at]! & 0xe0) === 0x20) {
      const bytes = this.#integer(buffer, at, to, 0x1f);
      if (bytes < 0 || bytes > this.#allowed) return -1;
      if (bytes <= this.#updateDue) this.#updateDue = -1;
      this.#table.bytesMax = bytes;
      while (this.#table.overflowsBy(0)) this.#table.drop();
      at = this.#at;
    }
    return this.#updateDue >= 0 ? -1 : at;
  }

  /** An integer behind a prefix of some bits (RFC 7541 §5.1); -1: cut off, or too large. */
  #integer(buffer: Buffer, at: number, to: number, prefix: number): number {
    let value = buffer[at++]! & prefix;
    if (value === prefix) {
      let shift = 0;
      let byte = 0x80;
      while (byte >= 0x80) {
        if (at >= to || shift >= INTEGER_SHIFT_MAX) return -1;
        byte = buffer[at++]!;
        value += (byte & 0x7f) << shift;
        shift += 7;
      }
    }
    this.#at = at;
    return value;
  }

  #indexed(index: number): HeaderField | undefined {
    if (index < DYNAMIC_INDEX) return index > 0 ? STATIC_TABLE[index - 1] : undefined;
    return this.#table.at(index - DYNAMIC_INDEX);
  }

  /** RFC 7541 §6.2; undefined: an error, a size update in the middle among them. */
  #literal(buffer: Buffer, from: number, to: number, first: number): HeaderField | undefined {
    const isAdded = first >= 0x40;
    if (!isAdded && first >= 0x20) return undefined;
    const index = this.#integer(buffer, from, to, isAdded ? 0x3f : 0x0f);
    if (index < 0) return undefined;
    let named: Pick<HeaderField, "name" | "role"> | undefined;
    if (index > 0) named = this.#indexed(index);
    else {
      const text = this.#string(buffer, this.#at, to);
      if (text !== undefined) named = fieldName(text);
    }
    if (named === undefined) return undefined;
    const value = this.#string(buffer, this.#at, to);
    if (value === undefined) return undefined;
    const field = new HeaderField(named.name, value, named.role, this.#flaws);
    if (isAdded) this.#add(field);
    return field;
  }

  #add(field: HeaderField): void {
    while (this.#table.overflowsBy(field.size)) this.#table.drop();
    // One that is larger than the table empties it, and is no error (RFC 7541 §4.4).
    if (field.size <= this.#table.bytesMax) this.#table.add(field);
  }

  /** A literal that is neither kept nor added. Returns some field; undefined: an error. */
  #skip(buffer: Buffer, from: number, to: number): HeaderField | undefined {
    if (buffer[from]! >= 0x20) return undefined;
    const index = this.#integer(buffer, from, to, 0x0f);
    if (index < 0 || (index > 0 && this.#indexed(index) === undefined)) return undefined;
    for (let strings = index > 0 ? 1 : 2; strings > 0; strings--) {
      if (this.#at >= to) return undefined;
      const length = this.#integer(buffer, this.#at, to, 0x7f);
      if (length < 0 || length > to - this.#at) return undefined;
      this.#at += length;
    }
    return STATIC_TABLE[0];
  }

  /** A string (RFC 7541 §5.2) and its flaws; undefined: an error. */
  #string(buffer: Buffer, from: number, to: number): string | undefined {
    if (from >= to) return undefined;
    const length = this.#integer(buffer, from, to, 0x7f);
    const start = this.#at;
    if (length < 0 || length > to - start) return undefined;
    this.#at = start + length;
    this.#flaws = 0;
    if (length === 0) return "";
    if (buffer[from]! < 0x80) return this.#text(buffer, start, this.#at);
    const room = huffmanDecodedMax(length);
    if (scratch.length < room + 1) scratch = Buffer.allocUnsafeSlow(room * 2);
    const decoded = huffmanDecode(buffer, start, this.#at, scratch);
    return decoded < 0 ? undefined : this.#text(scratch, 0, decoded);
  }

  #text(bytes: Buffer, from: number, to: number): string {
    let flaws = 0;
    for (let i = from; i < to; i++) flaws |= FLAWS[bytes[i]!]!;
    if (isBlank(bytes[from]!) || isBlank(bytes[to - 1]!)) flaws |= Flaw.EDGE;
    this.#flaws = flaws;
    return latin1(bytes, from, to);
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
