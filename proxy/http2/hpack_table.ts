import { Flaw, fieldName, type RoleNumber } from "#proxy/http2/field_roles.ts";

/** What an entry costs beside its characters (RFC 7541 §4.1). */
export const ENTRY_OVERHEAD_BYTES = 32;
/** SETTINGS_HEADER_TABLE_SIZE without a word (RFC 9113 §6.5.2). */
export const TABLE_BYTES_DEFAULT = 4_096;

/**
 * One field of a header block, decoded. What its name and characters amount to is found once, however often a
 * table brings it again.
 */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  readonly role: RoleNumber;
  /** Bits of `Flaw`. */
  readonly flaws: number;
  /** As `ENTRY_OVERHEAD_BYTES` counts. */
  readonly size: number;

  constructor(name: string, value: string, role: RoleNumber, flaws: number) {
    this.name = name;
    this.value = value;
    this.role = role;
    this.flaws = flaws;
    this.size = name.length + value.length + ENTRY_OVERHEAD_BYTES;
  }
}

/** RFC 7541 Appendix A, from index 1 on: name, value. */
const STATIC_PAIRS: ReadonlyArray<readonly [name: string, value?: string]> = [
  [":authority"],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset"],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language"],
  ["accept-ranges"],
  ["accept"],
  ["access-control-allow-origin"],
  ["age"],
  ["allow"],
  ["authorization"],
  ["cache-control"],
  ["content-disposition"],
  ["content-encoding"],
  ["content-language"],
  ["content-length"],
  ["content-location"],
  ["content-range"],
  ["content-type"],
  ["cookie"],
  ["date"],
  ["etag"],
  ["expect"],
  ["expires"],
  ["from"],
  ["host"],
  ["if-match"],
  ["if-modified-since"],
  ["if-none-match"],
  ["if-range"],
  ["if-unmodified-since"],
  ["last-modified"],
  ["link"],
  ["location"],
  ["max-forwards"],
  ["proxy-authenticate"],
  ["proxy-authorization"],
  ["range"],
  ["referer"],
  ["refresh"],
  ["retry-after"],
  ["server"],
  ["set-cookie"],
  ["strict-transport-security"],
  ["transfer-encoding"],
  ["user-agent"],
  ["vary"],
  ["via"],
  ["www-authenticate"],
];

/** The static table; its first entry has index 1. */
export const STATIC_TABLE: readonly HeaderField[] = STATIC_PAIRS.map(([text, value]) => {
  const { name, role } = fieldName(text);
  const flaws = value === undefined || value.startsWith("/") ? 0 : Flaw.NOT_TARGET;
  return new HeaderField(name, value ?? "", role, flaws);
});
/** Index of the dynamic table's newest entry. */
export const DYNAMIC_INDEX = STATIC_TABLE.length + 1;

/** What is in a table: it knows what it costs. */
interface Entry {
  readonly size: number;
}

/** A dynamic table (RFC 7541 §2.3.2): a ring that the newest entry goes into and the oldest drops out of. */
export class DynamicTable<T extends Entry> {
  /** Bytes that the entries may take. */
  bytesMax: number;
  /** Bytes that they take. */
  bytes = 0;
  count = 0;
  /** Entries ever added: the newest one's number. */
  added = 0;
  #ring: Array<T | undefined> = new Array(RING_FIRST).fill(undefined);

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** @param age 0: the newest; undefined: there is none so old. */
  at(age: number): T | undefined {
    if (age >= this.count) return undefined;
    return this.#ring[(this.added - age) & (this.#ring.length - 1)];
  }

  /** Whether the oldest has to go before so many bytes more fit in; false where nothing is left to drop. */
  overflowsBy(bytes: number): boolean {
    return this.count > 0 && this.bytes + bytes > this.bytesMax;
  }

  /** Drops the oldest entry, of which there is one, and returns it. */
  drop(): T {
    const place = (this.added - this.count + 1) & (this.#ring.length - 1);
    const oldest = this.#ring[place]!;
    this.#ring[place] = undefined;
    this.count--;
    this.bytes -= oldest.size;
    return oldest;
  }

  /** The caller has made room by `drop`. */
  add(entry: T): void {
    if (this.count === this.#ring.length) this.#grow();
    this.added++;
    this.#ring[this.added & (this.#ring.length - 1)] = entry;
    this.count++;
    this.bytes += entry.size;
  }

  #grow(): void {
    const larger: Array<T | undefined> = new Array(this.#ring.length * 2).fill(undefined);
    for (let age = 0; age < this.count; age++) {
      larger[(this.added - age) & (larger.length - 1)] = this.at(age);
    }
    this.#ring = larger;
  }
}

/** Entries that a new ring has places for: a power of two. */
const RING_FIRST = 16;
