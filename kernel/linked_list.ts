/** What an item needs to be in a `LinkedList`: the list writes these, nobody else. */
export interface Linked<T> {
  listPrev: T | undefined;
  listNext: T | undefined;
  isListed: boolean;
}

/**
 * A list through its own items: adding and removing anywhere costs the same however long it is, and
 * allocates nothing. An item is in one list at a time.
 */
export class LinkedList<T extends Linked<T>> {
  #first: T | undefined = undefined;
  #last: T | undefined = undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that was added first. */
  get first(): T | undefined {
    return this.#first;
  }

  /** Adds at the end. */
  push(item: T): void {
    const last = this.#last;
    item.listPrev = last;
    item.isListed = true;
    if (last === undefined) this.#first = item;
    else last.listNext = item;
    this.#last = item;
    this.#size++;
  }

  /** Takes the one that was added last. */
  pop(): T | undefined {
    const item = this.#last;
    if (item !== undefined) this.remove(item);
    return item;
  }

  /** Takes the one that was added first. */
  shift(): T | undefined {
    const item = this.#first;
    if (item !== undefined) this.remove(item);
    return item;
  }

  /** Nothing happens if it is in no list. */
  remove(item: T): void {
    if (!item.isListed) return;
    const { listPrev: before, listNext: after } = item;
    if (before === undefined) this.#first = after;
    else before.listNext = after;
    if (after === undefined) this.#last = before;
    else after.listPrev = before;
    item.listPrev = undefined;
    item.listNext = undefined;
    item.isListed = false;
    this.#size--;
  }
}
