/** Names and values of a header block, and the entry of HPACK's static table of those that have one. */
export type Fields = ReadonlyArray<readonly [name: string, value: string, entry?: number]>;

const FIRST_DYNAMIC = 62;

/**
 * Header blocks as a usual peer writes them (RFC 7541): each field is spelt out the first time and is one byte
 * from then on. Nothing is ever evicted, so there may be no more than a few fields.
 */
export class FieldWriter {
  readonly #known = new Map<string, number>();
  readonly #last = new Map<Fields, { readonly known: number; readonly block: Buffer }>();
  /** The peer keeps a table of the usual size. */
  indexes = true;

  block(fields: Fields): Buffer {
    const last = this.#last.get(fields);
    if (last !== undefined && last.known === this.#known.size) return last.block;
    const size = this.#known.size;
    const block = Buffer.concat(fields.map((field) => this.#write(field)));
    if (size === this.#known.size) this.#last.set(fields, { known: size, block });
    return block;
  }

  #write([name, value, entry]: Fields[number]): Buffer {
    if (entry !== undefined) return Buffer.of(0x80 | entry);
    const text = `${name}\0${value}`;
    const at = this.#known.get(text);
    if (at !== undefined) return Buffer.of(0x80 | (FIRST_DYNAMIC + this.#known.size - 1 - at));
    if (this.indexes) this.#known.set(text, this.#known.size);
    return Buffer.concat([Buffer.of(this.indexes ? 0x40 : 0), plain(name), plain(value)]);
  }
}

function plain(text: string): Buffer {
  if (text.length > 126) throw new RangeError(text);
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1")]);
}
