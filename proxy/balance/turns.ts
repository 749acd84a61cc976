/**
 * Whose turn it is when everybody comes in proportion to a weight: earliest deadline first. A binary heap over typed
 * arrays: nothing is allocated by a turn.
 */
export class Turns {
  readonly #due: Float64Array;
  readonly #heap: Int32Array;

  /** @param due when each has its first turn, in any unit; equal ones go by their place. */
  constructor(due: Float64Array) {
    this.#due = due;
    this.#heap = Int32Array.from(due, (_, i) => i);
    for (let at = (due.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  /** Index of who is next. */
  get next(): number {
    return this.#heap[0]!;
  }

  /** Who is next has had the turn; the one after this comes that much later. */
  pass(delay: number): void {
    const at = this.#heap[0]!;
    this.#due[at] = this.#due[at]! + delay;
    this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const moving = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, moving)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moving;
  }

  #isBefore(a: number, b: number): boolean {
    const difference = this.#due[a]! - this.#due[b]!;
    return difference < 0 || (difference === 0 && a < b);
  }
}
