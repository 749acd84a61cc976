import type { Metrics, Sample } from "#kernel/metrics.ts";
import type { ListenerSet } from "#proxy/app/listener_set.ts";
import { FLOODS } from "#proxy/http2/flood_guard.ts";
import { errorName } from "#proxy/http2/frames.ts";
import type { Http2Counters } from "#proxy/http2/http2_counters.ts";

/** Registers what HTTP/2 connections count: clients' by their listener, and those to endpoints together. */
export function registerHttp2(
  metrics: Metrics,
  listeners: ListenerSet,
  upstream: Http2Counters,
): void {
  const sources = function* (): Iterable<readonly [labels: string[], counters: Http2Counters]> {
    for (const { name, port } of listeners.opened()) {
      yield [["downstream", name], port.counters.http2];
    }
    yield [["upstream", ""], upstream];
  };
  const labels = ["side", "listener"];
  const each = (read: (counters: Http2Counters) => number) => (): Sample[] =>
    [...sources()].map(([of, counters]) => ({ labels: of, value: read(counters) }));
  const byCode = (
    sent: (counters: Http2Counters) => Map<number, number>,
    received: (counters: Http2Counters) => Map<number, number>,
  ): (() => Sample[]) => {
    return () =>
      [...sources()].flatMap(([of, counters]) => [
        ...samplesOf([...of, "sent"], sent(counters)),
        ...samplesOf([...of, "received"], received(counters)),
      ]);
  };
  metrics.counter(
    { name: "espalier_http2_streams_total", help: "HTTP/2 streams that were opened.", labels },
    each(({ streams }) => streams),
  );
  metrics.counter(
    {
      name: "espalier_http2_resets_total",
      help: "HTTP/2 streams that were reset, by who did it and the error code.",
      labels: [...labels, "direction", "code"],
    },
    byCode(
      ({ resetsSent }) => resetsSent,
      ({ resetsReceived }) => resetsReceived,
    ),
  );
  metrics.counter(
    {
      name: "espalier_http2_goaways_total",
      help: "HTTP/2 connections whose end was announced, by who did it and the error code.",
      labels: [...labels, "direction", "code"],
    },
    byCode(
      ({ goawaysSent }) => goawaysSent,
      ({ goawaysReceived }) => goawaysReceived,
    ),
  );
  metrics.counter(
    {
      name: "espalier_http2_idle_frames_total",
      help: "HTTP/2 frames of peers that bring nothing by themselves, by kind: a flood of them ends the connection.",
      labels: [...labels, "kind"],
    },
    () =>
      [...sources()].flatMap(([of, { floods }]) =>
        FLOODS.map((kind) => ({ labels: [...of, kind], value: floods[kind] })),
      ),
  );
  metrics.counter(
    {
      name: "espalier_http2_floods_total",
      help: "HTTP/2 connections that were ended because their peer made us work for nothing.",
      labels,
    },
    each(({ calmed }) => calmed),
  );
}

function samplesOf(labels: readonly string[], counts: Map<number, number>): Sample[] {
  return [...counts].map(([code, value]) => ({ labels: [...labels, errorName(code)], value }));
}
