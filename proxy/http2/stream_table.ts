/** Slots at first, and at most; each a power of two. */
const SLOTS_MIN = 16;
const SLOTS_MAX = 1_024;

/**
 * The open streams of one side of a connection, by id. Ids are given out one after the other, so nearly always each has
 * a slot of its own, and streams come and go without a hash table growing and shrinking under them; where two meet,
 * there are twice as many slots, or a map for the rest.
 */
export class StreamTable<T extends { readonly id: number }> {
  size = 0;
  #slots: Array<T | undefined> = new Array(SLOTS_MIN).fill(undefined);
  #others: Map<number, T> | undefined = undefined;

  get(id: number): T | undefined {
    const slots = this.#slots;
    const found = slots[(id >>> 1) & (slots.length - 1)];
    return found !== undefined && found.id === id ? found : this.#others?.get(id);
  }

  /** Adds a stream whose id is in no stream here. */
  add(stream: T): void {
    this.size++;
    const place = stream.id >>> 1;
    while (this.#slots[place & (this.#slots.length - 1)] !== undefined) {
      if (this.#slots.length === SLOTS_MAX) {
        this.#others ??= new Map();
        this.#others.set(stream.id, stream);
        return;
      }
      this.#grow();
    }
    this.#slots[place & (this.#slots.length - 1)] = stream;
  }

  /** Removes a stream that is here. */
  delete(stream: T): void {
    const at = (stream.id >>> 1) & (this.#slots.length - 1);
    if (this.#slots[at] === stream) this.#slots[at] = undefined;
    else this.#others!.delete(stream.id);
    this.size--;
  }

  /** All of them, by their ids: what happens to the table meanwhile changes nothing in the list. */
  all(): T[] {
    const open = this.#slots.filter((stream) => stream !== undefined);
    if (this.#others !== undefined) open.push(...this.#others.values());
    return open.sort((a, b) => a.id - b.id);
  }

  /** Each slot becomes two: none of those that had one meet there. */
  #grow(): void {
    const before = this.#slots;
    this.#slots = new Array(before.length * 2).fill(undefined);
    const mask = this.#slots.length - 1;
    for (const stream of before) {
      if (stream !== undefined) this.#slots[(stream.id >>> 1) & mask] = stream;
    }
  }
}
