/*
 * Work on what one socket has read. What it leaves to be written, on any connection, leaves when it is done: in
 * one write each, and without another tick.
 */

/** Something with bytes that wait to be written. */
export interface Flushed {
  flush(): void;
}

/** Longer lists are not used again. */
const LIST_KEPT = 256;

/** Those who wait to be flushed; a second list makes emptying one nothing but a swap. */
class FlushList {
  #waiting: Flushed[] = [];
  #spare: Flushed[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  /** Returns how many wait with it. */
  push(item: Flushed): number {
    return this.#waiting.push(item);
  }

  flush(): void {
    const due = this.#waiting;
    this.#waiting = this.#spare;
    for (let i = 0; i < due.length; i++) due[i]!.flush();
    this.#spare = due.length > LIST_KEPT ? [] : due;
    while (this.#spare.length > 0) this.#spare.pop();
  }
}

/** Flushed once the running work is done, and when the event loop's turn ends. */
const afterWork = new FlushList();
const afterTurn = new FlushList();
let working = 0;

/** Begins to work on what a socket has read. Goes with one `endWork`. */
export function beginWork(): void {
  working++;
}

/** Writes what the work has left to be written. */
export function endWork(): void {
  if (--working === 0 && afterWork.size > 0) afterWork.flush();
}

/** `item` is flushed when the running work is done; outside of any, soon. */
export function flushAfterWork(item: Flushed): void {
  if (afterWork.push(item) === 1 && working === 0) process.nextTick(flushWork);
}

function flushWork(): void {
  afterWork.flush();
}

/**
 * `item` is flushed when all sockets that had something to read in this turn have been read: what many of them have
 * left for one connection leaves in one write.
 */
export function flushAfterTurn(item: Flushed): void {
  if (afterTurn.push(item) === 1) setImmediate(endTurn);
}

/** Writes what the turn has left to be written. */
export function endTurn(): void {
  afterTurn.flush();
}
