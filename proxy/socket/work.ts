/*
 * Work on what one socket has read. What it leaves to be written, on any connection, leaves when it is done: in
 * one write each, and without another tick.
 */

/** Something with bytes that wait to be written. */
export interface Flushed {
  flush(): void;
}

/** Those with bytes that nobody has flushed yet; emptied once per turn of the event loop. */
let pending: Flushed[] = [];
/** A second list, so that emptying one takes nothing but a swap. */
let spare: Flushed[] = [];
let working = 0;
/** Longer lists are not used again. */
const LIST_KEPT = 256;

/** Begins to work on what a socket has read. Goes with one `endWork`. */
export function beginWork(): void {
  working++;
}

/** Writes what the work has left to be written. */
export function endWork(): void {
  if (--working === 0 && pending.length > 0) flushAll();
}

/** `item` is flushed when the running work is done; outside of any, soon. */
export function flushAfterWork(item: Flushed): void {
  if (pending.push(item) === 1 && working === 0) process.nextTick(flushAll);
}

function flushAll(): void {
  const due = pending;
  pending = spare;
  for (let i = 0; i < due.length; i++) due[i]!.flush();
  spare = due.length > LIST_KEPT ? [] : due;
  while (spare.length > 0) spare.pop();
}

/** Those that are flushed when the event loop's turn ends. */
let late: Flushed[] = [];
let spareLate: Flushed[] = [];

/**
 * `item` is flushed when all sockets that had something to read in this turn have been read: what many of them have
 * left for one connection leaves in one write.
 */
export function flushAfterTurn(item: Flushed): void {
  if (late.push(item) === 1) setImmediate(endTurn);
}

/** Writes what the turn has left to be written. */
export function endTurn(): void {
  const due = late;
  late = spareLate;
  for (let i = 0; i < due.length; i++) due[i]!.flush();
  spareLate = due.length > LIST_KEPT ? [] : due;
  while (spareLate.length > 0) spareLate.pop();
}
