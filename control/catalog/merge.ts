import { quantise } from "#control/catalog/catalog.ts";
import { newestReplication } from "#control/catalog/replication.ts";
import type { Freshness } from "#model/snapshot.ts";
import type { GatewayAddress, Summary } from "#model/summary.ts";

/** One part of a sum. */
export interface Part {
  readonly summary: Summary;
  readonly freshness: Freshness;
}

const ORDER: readonly Freshness[] = ["fresh", "stale", "suspect"];

/** The fresher of two. */
export function fresher(a: Freshness, b: Freshness): Freshness {
  return ORDER.indexOf(a) <= ORDER.indexOf(b) ? a : b;
}

/**
 * The sum of several clusters' summaries of one service, reached at `gateways`: counts add up, the
 * median is the mean of medians by healthy endpoints, and it is as fresh as its freshest part.
 */
export function merge(parts: readonly Part[], gateways: readonly GatewayAddress[]): Part {
  let [healthy, total, capacity] = [0, 0, 0];
  let [p50Sum, p50Count] = [0, 0];
  let unbounded = false;
  let freshness: Freshness = "suspect";
  for (const { summary, freshness: age } of parts) {
    healthy += summary.healthy;
    total += summary.total;
    if (summary.capacity !== undefined) capacity += summary.capacity;
    // Not declared, but somebody is there: nobody knows a limit.
    else if (summary.healthy > 0) unbounded = true;
    if (summary.p50Ms !== undefined && summary.healthy > 0) {
      p50Sum += summary.p50Ms * summary.healthy;
      p50Count += summary.healthy;
    }
    freshness = fresher(freshness, age);
  }
  const { port, appProtocol } = parts[0]!.summary;
  const replication = newestReplication(parts.map(({ summary }) => summary.replication));
  const summary = {
    gateways: [...gateways],
    healthy,
    total,
    ...(unbounded || capacity === 0 ? {} : { capacity }),
    ...(p50Count === 0 ? {} : { p50Ms: quantise(p50Sum / p50Count) }),
    port,
    appProtocol,
    ...(replication === undefined ? {} : { replication }),
  };
  return { summary, freshness };
}
