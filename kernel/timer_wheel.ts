import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";

/**
 * Something that can time out. Extend it (or hold one): the wheel links items through these fields,
 * so arming and disarming allocate nothing.
 */
export abstract class WheelItem {
  /** When it fires, by the clock's monotonic time; 0 = not armed. Written by the wheel alone. */
  deadlineAt: Millis = 0;
  wheelPrev: WheelItem | undefined = undefined;
  wheelNext: WheelItem | undefined = undefined;
  abstract onTimeout(): void;
}

/** A `WheelItem` that calls a function. */
export class Timeout extends WheelItem {
  readonly #fn: () => void;
  constructor(fn: () => void) {
    super();
    this.#fn = fn;
  }
  onTimeout(): void {
    this.#fn();
  }
}

/**
 * One coarse timer for many deadlines (G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels",
 * 1987; one level). A deadline never fires early and at most about one tick late. Arming again with a
 * later deadline only writes a number: the item moves when its old slot comes round.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #tickMs: Millis;
  /** Each slot is a ring closed by its own sentinel, so that unlinking needs no slot. */
  readonly #slots: WheelItem[];
  readonly #timer: Timer;
  /** The last tick whose slot has been emptied. */
  #tick: number;
  #armed = 0;

  constructor(clock: Clock, tickMs: Millis = 50, slots = 512) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#slots = Array.from({ length: slots }, sentinel);
    this.#tick = Math.floor(clock.now() / tickMs);
    this.#timer = clock.every(tickMs, () => this.#turn());
  }

  /** Armed items. */
  get size(): number {
    return this.#armed;
  }

  /** Arms `item`, or moves its deadline, to fire `delayMs` from now. */
  arm(item: WheelItem, delayMs: Millis): void {
    // From the clock, not from the last tick, which may lie a long turn of the event loop back.
    this.armAt(item, this.#clock.now() + delayMs);
  }

  /** Arms `item`, or moves its deadline, to fire `at` that time: for who has just read the clock. */
  armAt(item: WheelItem, at: Millis): void {
    const old = item.deadlineAt;
    item.deadlineAt = at;
    if (old === 0) this.#armed++;
    else if (at >= old) return;
    else unlink(item);
    this.#link(item);
  }

  disarm(item: WheelItem): void {
    if (item.deadlineAt === 0) return;
    unlink(item);
    item.deadlineAt = 0;
    this.#armed--;
  }

  close(): void {
    this.#timer.cancel();
  }

  #link(item: WheelItem): void {
    // Never into a slot that this turn has emptied already.
    const tick = Math.max(Math.ceil(item.deadlineAt / this.#tickMs), this.#tick + 1);
    const head = this.#slots[tick % this.#slots.length]!;
    item.wheelNext = head;
    item.wheelPrev = head.wheelPrev;
    head.wheelPrev!.wheelNext = item;
    head.wheelPrev = item;
  }

  #turn(): void {
    const now = this.#clock.now();
    const target = Math.floor(now / this.#tickMs);
    // After a long pause every slot is due; going round once reaches them all.
    let tick = Math.max(this.#tick, target - this.#slots.length);
    this.#tick = target;
    while (tick < target) {
      tick++;
      this.#empty(this.#slots[tick % this.#slots.length]!, now);
    }
  }

  #empty(head: WheelItem, now: Millis): void {
    if (head.wheelNext === head) return;
    // Moved to a ring of its own first: callbacks may arm and disarm anything, this slot included.
    const due = sentinel();
    due.wheelNext = head.wheelNext;
    due.wheelPrev = head.wheelPrev;
    due.wheelNext!.wheelPrev = due;
    due.wheelPrev!.wheelNext = due;
    head.wheelNext = head;
    head.wheelPrev = head;
    for (let item = due.wheelNext!; item !== due; item = due.wheelNext!) {
      unlink(item);
      if (item.deadlineAt > now) {
        this.#link(item);
        continue;
      }
      item.deadlineAt = 0;
      this.#armed--;
      item.onTimeout();
    }
  }
}

class Sentinel extends WheelItem {
  onTimeout(): void {}
}

function sentinel(): WheelItem {
  const head = new Sentinel();
  head.wheelNext = head;
  head.wheelPrev = head;
  return head;
}

function unlink(item: WheelItem): void {
  item.wheelPrev!.wheelNext = item.wheelNext;
  item.wheelNext!.wheelPrev = item.wheelPrev;
  item.wheelPrev = undefined;
  item.wheelNext = undefined;
}
