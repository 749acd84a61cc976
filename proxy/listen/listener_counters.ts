import type { FailureName } from "#proxy/exchange/failure.ts";
import { Http2Counters } from "#proxy/http2/http2_counters.ts";

/** What has become of those who came to one port. Plain numbers, read by metrics at scrape time. */
export class ListenerCounters {
  accepted = 0;
  open = 0;
  /** Closed at once because the port was full. */
  full = 0;
  /** Closed at once because file descriptors were running out. */
  noFiles = 0;
  /** Handshakes that failed, and peers that proved to be nobody who may come here. */
  tlsRefused = 0;
  /** Connections that did not begin as they must: PROXY header, ClientHello. */
  preambleRefused = 0;
  /** Requests that were not passed on, by reason. */
  readonly refused = new Map<FailureName, number>();
  readonly http2 = new Http2Counters();
}
