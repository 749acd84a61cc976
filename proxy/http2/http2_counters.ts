import { FLOODS, type Flood } from "#proxy/http2/flood_guard.ts";
import { ErrorCode } from "#proxy/http2/frames.ts";

/** Plain numbers of all HTTP/2 connections of one kind, read by metrics at scrape time. */
export class Http2Counters {
  /** Streams that were opened. */
  streams = 0;
  /** By error code. */
  readonly resetsSent = new Map<number, number>();
  readonly resetsReceived = new Map<number, number>();
  /** Connections that ended with an error, by its code. */
  readonly goawaysSent = new Map<number, number>();
  readonly goawaysReceived = new Map<number, number>();
  /** Frames that bring nothing by themselves; those above the budget have ended their connection. */
  readonly floods = Object.fromEntries(FLOODS.map((kind) => [kind, 0])) as Record<Flood, number>;
  /** Connections that were ended for them. */
  calmed = 0;
}

/** One more of `code`. Those that nobody knows are one: peers must not be able to make series. */
export function count(counts: Map<number, number>, code: number): void {
  const known = code <= ErrorCode.HTTP_1_1_REQUIRED ? code : OTHER_CODE;
  counts.set(known, (counts.get(known) ?? 0) + 1);
}

const OTHER_CODE = 0xffff_ffff;
