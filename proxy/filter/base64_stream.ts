/*
 * Base64 (RFC 4648 §4) of bodies that come in pieces, cut anywhere. Padding may stand after any group, for whoever
 * writes may pad what it flushes; otherwise it is strict (§3.3, §3.5): the alphabet alone, whole groups, no bits that
 * say nothing.
 */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/** What each character stands for; -1: nothing. */
const VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) VALUES[ALPHABET.charCodeAt(i)] = i;
const PAD = 0x3d;
/** Bits that are left over, by characters of padding in a group. */
const LEFT_OVER = [0, 0xff, 0xffff] as const;

/** Reads base64. */
export class Base64Decoder {
  /** Of the group that is open: what was read of it, how many characters, and how many of them are padding. */
  #bits = 0;
  #read = 0;
  #padding = 0;

  /** No group is open: the text may end here. */
  get isWhole(): boolean {
    return this.#read === 0;
  }

  /** The bytes that are whole with this piece, in memory of their own; undefined: it is no base64. */
  decode(chunk: Buffer): Buffer | undefined {
    const { length } = chunk;
    const bytes = Buffer.allocUnsafe(((this.#read + length) >> 2) * 3);
    let end = 0;
    let at = 0;
    while (at < length) {
      if (this.#read === 0 && at + 4 <= length) {
        const four =
          (VALUES[chunk[at]!]! << 18) |
          (VALUES[chunk[at + 1]!]! << 12) |
          (VALUES[chunk[at + 2]!]! << 6) |
          VALUES[chunk[at + 3]!]!;
        if (four >= 0) {
          bytes[end] = four >> 16;
          bytes[end + 1] = four >> 8;
          bytes[end + 2] = four;
          end += 3;
          at += 4;
          continue;
        }
      }
      if (!this.#take(chunk[at++]!)) return undefined;
      if (this.#read < 4) continue;
      const bits = this.#bits;
      if ((bits & LEFT_OVER[this.#padding]!) !== 0) return undefined;
      bytes[end] = bits >> 16;
      if (this.#padding < 2) bytes[end + 1] = bits >> 8;
      if (this.#padding < 1) bytes[end + 2] = bits;
      end += 3 - this.#padding;
      this.#bits = 0;
      this.#read = 0;
      this.#padding = 0;
    }
    return bytes.subarray(0, end);
  }

  /** False: it may not stand here. */
  #take(character: number): boolean {
    const value = VALUES[character]!;
    if (value >= 0) {
      if (this.#padding > 0) return false;
      this.#bits = (this.#bits << 6) | value;
    } else {
      if (character !== PAD || this.#read < 2) return false;
      this.#padding++;
      this.#bits <<= 6;
    }
    this.#read++;
    return true;
  }
}

/** Writes base64. Up to two bytes are kept back until three are together, or nothing more belongs to them. */
export class Base64Encoder {
  readonly #kept = Buffer.alloc(3);
  #count = 0;

  /**
   * The text of `chunk` from `start` to `end`, as far as groups are full.
   * @param isLast what was said so far must be readable now: it is padded.
   */
  encode(chunk: Buffer, start: number, end: number, isLast: boolean): string {
    let text = "";
    let at = start;
    if (this.#count > 0) {
      while (this.#count < 3 && at < end) this.#kept[this.#count++] = chunk[at++]!;
      if (this.#count === 3) text = this.#flush();
    }
    const full = at + (end - at) - ((end - at) % 3);
    if (full > at) text += chunk.toString("base64", at, full);
    for (at = full; at < end; at++) this.#kept[this.#count++] = chunk[at]!;
    return isLast && this.#count > 0 ? text + this.#flush() : text;
  }

  #flush(): string {
    const text = this.#kept.toString("base64", 0, this.#count);
    this.#count = 0;
    return text;
  }
}
