import { huffmanBytes, huffmanEncode } from "#proxy/http2/hpack_huffman.ts";
import {
  DYNAMIC_INDEX,
  DynamicTable,
  ENTRY_OVERHEAD_BYTES,
  STATIC_TABLE,
  TABLE_BYTES_DEFAULT,
} from "#proxy/http2/hpack_table.ts";

/** Of a field, beside its characters: the index of its name, and two lengths. */
const FIELD_OVERHEAD_BYTES = 12;
/** Two size updates. */
const BLOCK_OVERHEAD_BYTES = 10;

/** Bytes that a block surely fits into. @param characters of all names and values together. */
export function blockRoom(fields: number, characters: number): number {
  return BLOCK_OVERHEAD_BYTES + fields * FIELD_OVERHEAD_BYTES + characters;
}

/*
 * What is indexed. A field that comes again is one byte instead of all its characters, and is quicker to write than
 * them. But each that is added pushes others out. So what rarely comes twice is added when it has come twice.
 */

/** Guessing them byte by byte through the table must not be possible (RFC 7541 §7.1.3). */
const SECRET: ReadonlySet<string> = new Set(["authorization", "proxy-authorization"]);
/** The same of these where they are so short that they could be guessed. */
const SECRET_IF_SHORT: ReadonlySet<string> = new Set(["cookie", "set-cookie"]);
const SHORT_SECRET = 20;
/** Differ from message to message, mostly. */
const CHANGING: ReadonlySet<string> = new Set([
  ":path",
  "age",
  "content-length",
  "content-location",
  "content-range",
  "date",
  "etag",
  "expires",
  "forwarded",
  "grpc-timeout",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "range",
  "referer",
  "set-cookie",
  "traceparent",
  "tracestate",
  "x-forwarded-for",
  "x-mesh-deadline",
  "x-request-id",
]);
/** After so many values of a name that were none of the known ones, it is taken for one that changes. */
const MISSES_MAX = 8;
/** Values of a name that are looked at, from the newest on. */
const VALUES_LOOKED_AT = 8;
/** Names kept beyond those in the table before the others are forgotten. */
const NAMES_MAX = 256;
/** Fields of a block whose order is remembered. */
const ORDER_MAX = 32;
/** Texts up to here are written faster here than by a call into the runtime. */
const SHORT_TEXT = 20;

/** First bits of a field's representations, and how many bits of the byte are the integer's (RFC 7541 §6). */
const INDEXED = 0x80;
const INDEXED_PREFIX = 0x7f;
const ADDED = 0x40;
const ADDED_PREFIX = 0x3f;
const NOT_ADDED = 0x00;
const NEVER_ADDED = 0x10;
const LITERAL_PREFIX = 0x0f;
const SIZE_UPDATE = 0x20;
const SIZE_UPDATE_PREFIX = 0x1f;
const HUFFMAN = 0x80;

/** Where a name stands in the static table. */
interface StaticName {
  /** Of its first entry; 0: nowhere. */
  readonly index: number;
  /** The values of its entries from there on. */
  readonly values: readonly string[];
}

const NOT_STATIC: StaticName = { index: 0, values: [] };
const STATIC_NAMES = staticNames();

function staticNames(): ReadonlyMap<string, StaticName> {
  const names = new Map<string, { index: number; values: string[] }>();
  STATIC_TABLE.forEach(({ name, value }, i) => {
    const known = names.get(name);
    if (known === undefined) names.set(name, { index: i + 1, values: value === "" ? [] : [value] });
    else known.values.push(value);
  });
  return names;
}

/** What a connection knows of a name. */
class Name {
  readonly text: string;
  readonly isStatic: boolean;
  readonly staticIndex: number;
  readonly staticValues: readonly string[];
  /** A new value is added at once. */
  eager: boolean;
  /** Values shorter than this are never added. */
  readonly secretBelow: number;
  /** The newest of its entries. */
  newest: TableEntry | undefined = undefined;
  /** Values in a row that were in no table. */
  misses = 0;
  /** Prints of the last two values that were not added. */
  seen = 0;
  seenBefore = 0;

  constructor(text: string) {
    const { index, values } = STATIC_NAMES.get(text) ?? NOT_STATIC;
    this.text = text;
    this.isStatic = index > 0;
    this.staticIndex = index;
    this.staticValues = values;
    this.eager = !CHANGING.has(text);
    this.secretBelow = SECRET.has(text) ? Infinity : SECRET_IF_SHORT.has(text) ? SHORT_SECRET : 0;
  }
}

/** An entry of the dynamic table, in the chain of those of its name. */
class TableEntry {
  readonly name: Name;
  readonly value: string;
  readonly size: number;
  /** How many had been added with it. */
  readonly number: number;
  older: TableEntry | undefined;
  newer: TableEntry | undefined = undefined;

  constructor(name: Name, value: string, size: number, number: number) {
    this.name = name;
    this.value = value;
    this.size = size;
    this.number = number;
    this.older = name.newest;
    if (name.newest !== undefined) name.newest.newer = this;
    name.newest = this;
  }
}

/** Writes the header blocks of one direction of one connection, in their order. */
export class HpackEncoder {
  readonly #table = new DynamicTable<TableEntry>(TABLE_BYTES_DEFAULT);
  readonly #names = new Map<string, Name>();
  /** Sizes that the next block has to tell of: the smallest since the last one, and the one in force; -1: none. */
  #smallest = -1;
  #final = -1;
  /** Names in the order in which the last blocks had them: the next has most of them there again. */
  readonly #order: Name[] = [];
  #position = 0;
  #buffer: Buffer = EMPTY;
  #at = 0;

  /**
   * The peer's SETTINGS_HEADER_TABLE_SIZE. The next block tells what is made of it: at most
   * `TABLE_BYTES_DEFAULT`, whatever the peer allows, for it is memory of ours.
   */
  tableSizeChanged(bytes: number): void {
    const size = Math.min(bytes, TABLE_BYTES_DEFAULT);
    if (this.#final < 0 && size === this.#table.bytesMax) return;
    this.#smallest = this.#final < 0 ? size : Math.min(this.#smallest, size);
    this.#final = size;
  }

  /**
   * Begins a block at `at`. False: it has less than `room` bytes there, and nothing has changed.
   * @param room from `blockRoom`.
   */
  begin(buffer: Buffer, at: number, room: number): boolean {
    if (buffer.length - at < room) return false;
    this.#buffer = buffer;
    this.#at = at;
    this.#position = 0;
    if (this.#final >= 0) {
      if (this.#smallest < this.#final) this.#resize(this.#smallest);
      this.#resize(this.#final);
      this.#final = -1;
    }
    return true;
  }

  /** Where the block ends. */
  end(): number {
    this.#buffer = EMPTY;
    return this.#at;
  }

  /** Writes a field. @param neverIndexed the hop before has said so: it stays so (RFC 7541 §6.2.3). */
  put(text: string, value: string, neverIndexed: boolean): void {
    const name = this.#nameOf(text);
    if (neverIndexed || value.length < name.secretBelow) {
      this.#literal(NEVER_ADDED, LITERAL_PREFIX, name, value);
      return;
    }
    const { staticValues } = name;
    for (let i = 0; i < staticValues.length; i++) {
      if (staticValues[i] !== value) continue;
      this.#integer(INDEXED, INDEXED_PREFIX, name.staticIndex + i);
      return;
    }
    let entry = name.newest;
    for (let i = 0; i < VALUES_LOOKED_AT && entry !== undefined; i++, entry = entry.older) {
      if (entry.value !== value) continue;
      name.misses = 0;
      this.#integer(INDEXED, INDEXED_PREFIX, this.#indexOf(entry));
      return;
    }
    const size = text.length + value.length + ENTRY_OVERHEAD_BYTES;
    if (this.#isWorthAdding(name, value, size)) this.#add(name, value, size);
    else this.#literal(NOT_ADDED, LITERAL_PREFIX, name, value);
  }

  #isWorthAdding(name: Name, value: string, size: number): boolean {
    // One that pushes out most of the others has to come often.
    if (size > this.#table.bytesMax >> 1) return false;
    // Once for the sake of the name.
    if (!name.isStatic && name.newest === undefined) return true;
    if (++name.misses > MISSES_MAX) name.eager = false;
    if (name.eager) return true;
    const print = printOf(value);
    if (print === name.seen || print === name.seenBefore) return true;
    name.seenBefore = name.seen;
    name.seen = print;
    return false;
  }

  #nameOf(text: string): Name {
    const position = this.#position++;
    if (position < this.#order.length) {
      const guess = this.#order[position]!;
      if (guess.text === text) return guess;
    }
    const name = this.#names.get(text) ?? this.#newName(text);
    if (position <= this.#order.length && position < ORDER_MAX) this.#order[position] = name;
    return name;
  }

  #newName(text: string): Name {
    if (this.#names.size >= NAMES_MAX) {
      this.#order.length = 0;
      for (const name of this.#names.values()) {
        if (!name.isStatic && name.newest === undefined) this.#names.delete(name.text);
      }
    }
    const name = new Name(text);
    this.#names.set(text, name);
    return name;
  }

  #indexOf(entry: TableEntry): number {
    return DYNAMIC_INDEX + this.#table.added - entry.number;
  }

  #add(name: Name, value: string, size: number): void {
    // The index of its name is from before, even if this drops it (RFC 7541 §4.4).
    this.#literal(ADDED, ADDED_PREFIX, name, value);
    while (this.#table.overflowsBy(size)) this.#drop();
    // A slice would keep all of the text that it was cut from.
    const own = Buffer.from(value, "latin1").latin1Slice();
    this.#table.add(new TableEntry(name, own, size, this.#table.added + 1));
  }

  #drop(): void {
    // The oldest of all is the oldest of its name.
    const { name, newer } = this.#table.drop();
    if (newer === undefined) name.newest = undefined;
    else newer.older = undefined;
  }

  #resize(bytes: number): void {
    this.#integer(SIZE_UPDATE, SIZE_UPDATE_PREFIX, bytes);
    this.#table.bytesMax = bytes;
    while (this.#table.overflowsBy(0)) this.#drop();
  }

  #literal(form: number, prefix: number, name: Name, value: string): void {
    // What is added is written once for many times, and it is worth to be short. Else being quick is.
    const isAdded = form === ADDED;
    if (name.isStatic) this.#integer(form, prefix, name.staticIndex);
    else if (name.newest !== undefined) this.#integer(form, prefix, this.#indexOf(name.newest));
    else {
      this.#buffer[this.#at++] = form;
      this.#string(name.text, isAdded);
    }
    this.#string(value, isAdded);
  }

  #string(text: string, mayHuffman: boolean): void {
    const { length } = text;
    if (mayHuffman) {
      const bytes = huffmanBytes(text);
      if (bytes < length) {
        this.#integer(HUFFMAN, INDEXED_PREFIX, bytes);
        this.#at = huffmanEncode(text, this.#buffer, this.#at);
        return;
      }
    }
    this.#integer(0, INDEXED_PREFIX, length);
    const buffer = this.#buffer;
    const at = this.#at;
    this.#at = at + length;
    if (length > SHORT_TEXT) {
      buffer.latin1Write(text, at, length);
      return;
    }
    for (let i = 0; i < length; i++) buffer[at + i] = text.charCodeAt(i);
  }

  /** RFC 7541 §5.1. */
  #integer(form: number, prefix: number, value: number): void {
    if (value < prefix) {
      this.#buffer[this.#at++] = form | value;
      return;
    }
    this.#buffer[this.#at++] = form | prefix;
    let rest = value - prefix;
    while (rest >= 0x80) {
      this.#buffer[this.#at++] = rest | 0x80;
      rest >>>= 7;
    }
    this.#buffer[this.#at++] = rest;
  }
}

const EMPTY = Buffer.alloc(0);

/** Tells values apart, well enough to guess whether one has come before: by some characters, a date's seconds too. */
function printOf(value: string): number {
  const { length } = value;
  let print = length;
  for (let i = Math.max(0, length - 6); i < length; i++) {
    print = (Math.imul(print, 31) + value.charCodeAt(i)) | 0;
  }
  return length < 16 ? print : (Math.imul(print, 31) + value.charCodeAt(length >> 1)) | 0;
}
