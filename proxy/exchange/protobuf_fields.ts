/*
 * Protobuf's wire format, as far as the few messages need it that come with answers. They are an endpoint's word and
 * may be anything.
 */

/** Fields, one after the other. What cannot be read makes it `broken`, at its end. */
export class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;
  broken = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Its low 32 bits, as every reader takes an enum and a tag; at most ten bytes. */
  varint(): number {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      if (i < 5) value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value >>> 0;
    }
    this.broken = true;
    return 0;
  }

  /** A `double`. */
  double(): number {
    const at = this.#at;
    this.#pass(8);
    return this.broken ? 0 : this.#bytes.readDoubleLE(at);
  }

  /** A message, a text or bytes; a part of what is read, not a copy. */
  bytes(): Buffer {
    const length = this.varint();
    const at = this.#at;
    this.#pass(length);
    return this.broken ? EMPTY : this.#bytes.subarray(at, at + length);
  }

  /** The value of a field that is not known. */
  skip(tag: number): void {
    const field = tag >>> 3;
    if (field === 0) this.broken = true;
    switch (tag & 7) {
      case 0:
        this.varint();
        return;
      case 1:
        this.#pass(8);
        return;
      case 2:
        this.#pass(this.varint());
        return;
      case 5:
        this.#pass(4);
        return;
      // Groups are gone from proto3, the rest is nothing.
      default:
        this.broken = true;
    }
  }

  #pass(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length) this.broken = true;
  }
}

const EMPTY = Buffer.alloc(0);
