import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";

interface Entry {
  at: Millis;
  readonly seq: number;
  readonly fn: () => void;
  /** Undefined for a one-shot timer. */
  readonly periodMs: Millis | undefined;
}

/**
 * A clock that stands still until told to move. Timers due at the same instant fire in the order
 * in which they were set, so a run is a function of its seed alone.
 */
export class VirtualClock implements Clock {
  #now: Millis = 0;
  #seq = 0;
  readonly #entries = new Map<number, Entry>();
  readonly #heap: Array<{ at: Millis; seq: number }> = [];
  readonly #epochMs: Millis;

  /** @param epochMs what `wall()` reads at the start. */
  constructor(epochMs: Millis = Date.UTC(2026, 0, 1)) {
    this.#epochMs = epochMs;
  }

  now(): Millis {
    return this.#now;
  }

  wall(): Millis {
    return this.#epochMs + this.#now;
  }

  after(delayMs: Millis, fn: () => void): Timer {
    return this.#add(delayMs, fn, undefined);
  }

  every(periodMs: Millis, fn: () => void): Timer {
    return this.#add(periodMs, fn, Math.max(periodMs, 0.001));
  }

  /** Moves time by `ms`, firing what falls due on the way. */
  advance(ms: Millis): void {
    const end = this.#now + ms;
    for (let next = this.#peek(); next !== undefined && next.at <= end; next = this.#peek()) {
      this.#fire(next);
    }
    this.#now = end;
  }

  /**
   * Like `advance`, but lets promise continuations run after every timer, as the event loop would.
   */
  async advanceAsync(ms: Millis): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#peek(); next !== undefined && next.at <= end; next = this.#peek()) {
      this.#fire(next);
      await settle();
    }
    this.#now = end;
  }

  /** When the next timer is due; undefined if none is set. */
  nextAt(): Millis | undefined {
    return this.#peek()?.at;
  }

  /** Timers set and not yet fired or cancelled. */
  get pending(): number {
    return this.#entries.size;
  }

  #add(delayMs: Millis, fn: () => void, periodMs: Millis | undefined): Timer {
    const seq = this.#seq++;
    const entry = { at: this.#now + Math.max(0, delayMs), seq, fn, periodMs };
    this.#entries.set(seq, entry);
    this.#push(entry);
    return { cancel: () => void this.#entries.delete(seq) };
  }

  #fire(entry: Entry): void {
    this.#now = Math.max(this.#now, entry.at);
    this.#pop();
    if (entry.periodMs === undefined) this.#entries.delete(entry.seq);
    else {
      entry.at += entry.periodMs;
      this.#push(entry);
    }
    entry.fn();
  }

  /** The earliest live entry; drops cancelled ones on the way. */
  #peek(): Entry | undefined {
    for (let top = this.#heap[0]; top !== undefined; top = this.#heap[0]) {
      const entry = this.#entries.get(top.seq);
      if (entry !== undefined && entry.at === top.at) return entry;
      this.#pop();
    }
    return undefined;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.push({ at: entry.at, seq: entry.seq }) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i]!, heap[parent]!)) break;
      [heap[i], heap[parent]] = [heap[parent]!, heap[i]!];
      i = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      if (left >= heap.length) break;
      const right = left + 1;
      const child = right < heap.length && before(heap[right]!, heap[left]!) ? right : left;
      if (!before(heap[child]!, heap[i]!)) break;
      [heap[i], heap[child]] = [heap[child]!, heap[i]!];
      i = child;
    }
  }
}

function before(a: { at: number; seq: number }, b: { at: number; seq: number }): boolean {
  return a.at < b.at || (a.at === b.at && a.seq < b.seq);
}

/** Lets the microtasks queued so far, and those they queue, run: 10 rounds cover our longest chain. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await null;
}
