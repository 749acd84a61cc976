import { dueIn, type Entry, type RequestLog, type Span, spanOf } from "#bench/load/request_log.ts";

/** Steps in which times are told, ms. */
const STEP_MS = 100;
/** Requests of so long are looked at together for a percentile. */
const LOOK_MS = 1_000;
/** Share of the requests with which traffic has moved. */
const MOVED = 0.9;
/** Who has waited longer was in the way of what happened. */
const SOON_MS = 200;

/** Those without an answer of 2xx, but for those whose client did not wait any longer. */
export function failedOf({ results }: Span): number {
  return results["4xx"] + results["5xx"] + results.cut;
}

/**
 * How long after `fromMs` nine tenths of the requests that were due in one step were answered well and soon by
 * others than `gone` for the first time, ms; Infinity: never.
 */
export function movedAfter(log: RequestLog, fromMs: number, gone: readonly string[]): number {
  const due: number[] = [];
  const moved: number[] = [];
  for (const { dueMs, tookMs, result, by } of log.entries()) {
    if (dueMs < fromMs) continue;
    const step = Math.floor((dueMs - fromMs) / STEP_MS);
    due[step] = (due[step] ?? 0) + 1;
    if (result !== "2xx" || tookMs > SOON_MS || gone.includes(by)) continue;
    moved[step] = (moved[step] ?? 0) + 1;
  }
  const first = due.findIndex((count, step) => (moved[step] ?? 0) >= MOVED * count);
  return first < 0 ? Number.POSITIVE_INFINITY : (first + 1) * STEP_MS;
}

/** How long after `fromMs` the p99 of a second's requests, all of them good, is at most `bound` ms again. */
export function backAfter(log: RequestLog, fromMs: number, boundMs: number): number {
  let last = 0;
  for (const { dueMs } of log.entries()) last = Math.max(last, dueMs);
  for (let from = fromMs; from + LOOK_MS <= last; from += STEP_MS) {
    const span = spanOf(log, dueIn(from, from + LOOK_MS));
    if (span.results["2xx"] === span.count && p99Of(span) <= boundMs) return from - fromMs;
  }
  return Number.POSITIVE_INFINITY;
}

/** The largest p99 of any second between, ms. */
export function worstP99(log: RequestLog, fromMs: number, toMs: number): number {
  let worst = 0;
  for (let from = fromMs; from + LOOK_MS <= toMs; from += STEP_MS) {
    worst = Math.max(worst, p99Of(spanOf(log, dueIn(from, from + LOOK_MS))));
  }
  return worst;
}

/** Of the good ones, ms. */
export function p99Of({ good }: Span): number {
  return good.percentile(99) / 1_000;
}

/** The last request due after `fromMs` that one of `by` has answered, as ms after it; 0: none was. */
export function lastBy(log: RequestLog, fromMs: number, by: readonly string[]): number {
  let last = 0;
  for (const entry of log.entries()) {
    if (by.includes(entry.by)) last = Math.max(last, entry.dueMs - fromMs);
  }
  return last;
}

/** Those that a class of requests is made of. */
export function ofClass(name: string, then: (entry: Entry) => boolean): (entry: Entry) => boolean {
  return (entry) => entry.priority === name && then(entry);
}

/** The middle one. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
