import type { Millis } from "#kernel/brand.ts";

/** Happens at its time. */
export type Happening = () => void;

interface Entry {
  readonly at: Millis;
  /** Of equal times the one that was said first comes first: the same seed gives the same run. */
  readonly order: number;
  readonly what: Happening;
}

/** A clock of its own for millions of events: a binary heap. */
export class EventQueue {
  now: Millis = 0;
  readonly #heap: Entry[] = [];
  #said = 0;

  at(at: Millis, what: Happening): void {
    this.#push({ at, order: this.#said++, what });
  }

  after(ms: Millis, what: Happening): void {
    this.at(this.now + ms, what);
  }

  /** Every `periodMs` from `first` on; as long as the queue is run. */
  every(periodMs: Millis, first: Millis, what: Happening): void {
    this.at(first, () => {
      what();
      this.every(periodMs, this.now + periodMs, what);
    });
  }

  /** Lets everything happen that is due before `end`. */
  runUntil(end: Millis): void {
    const heap = this.#heap;
    for (let next = heap[0]; next !== undefined && next.at < end; next = heap[0]) {
      this.#pop();
      this.now = next.at;
      next.what();
    }
    this.now = end;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent]!;
      if (isBefore(above, entry)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(heap[child + 1]!, heap[child]!)) child++;
      const below = heap[child]!;
      if (isBefore(last, below)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
