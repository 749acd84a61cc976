import { quantise } from "#control/catalog/catalog.ts";
import { newestReplication } from "#control/catalog/replication.ts";
import { compact } from "#control/compile/compact.ts";
import type { Freshness } from "#model/snapshot.ts";
import { AMOUNT_MAX, ENDPOINTS_MAX, type GatewayAddress, type Summary } from "#model/summary.ts";

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

/** What a part says of places; beside one of a higher rank it says only what its clients want. */
const RANK = { nobody: 0, drained: 1, serving: 2 } as const;

/** What is said whether anybody serves there or not: what clients want, and where the data is. */
type Wider = { readonly [K in "demand" | "arrivals" | "replication"]: Summary[K] | undefined };

/** What the places of one rank have. */
interface Places {
  readonly rank: number;
  /** Of one of them: what all have in common. */
  readonly first: Summary;
  readonly freshness: Freshness;
  readonly healthy: number;
  readonly total: number;
  /** Infinity: somebody is there who has declared none. */
  readonly capacity: number;
  readonly p50Sum: number;
  /** Healthy endpoints that have a median. */
  readonly p50Count: number;
  /** NaN: somebody who may answer does not say; -Infinity: nobody is there. */
  readonly stalenessMs: number;
}

/**
 * Several clusters' summaries of one service, to be added up in any grouping. Counts add up, the median is the mean of
 * medians by healthy endpoints; it is as fresh as its freshest part, and its data as old as that of the oldest. What is
 * drained counts only if all of it is; clients count wherever they are.
 */
export class Sum {
  readonly #wider: Wider;
  readonly #places: Places;

  private constructor(wider: Wider, places: Places) {
    this.#wider = wider;
    this.#places = places;
  }

  static of({ summary, freshness }: Part): Sum {
    const { demand, arrivals, replication, ...places } = summary;
    const { healthy, total, drained, capacity, p50Ms, stalenessMs } = places;
    const isThere = healthy > 0;
    return new Sum(
      { demand, arrivals, replication },
      {
        rank: total === 0 ? RANK.nobody : drained === true ? RANK.drained : RANK.serving,
        first: summary,
        freshness,
        healthy,
        total,
        capacity: capacity ?? (isThere ? Number.POSITIVE_INFINITY : 0),
        p50Sum: isThere ? (p50Ms ?? 0) * healthy : 0,
        p50Count: isThere && p50Ms !== undefined ? healthy : 0,
        stalenessMs: isThere ? (stalenessMs ?? Number.NaN) : Number.NEGATIVE_INFINITY,
      },
    );
  }

  plus(other: Sum): Sum {
    const [a, b] = [this.#places, other.#places];
    const [mine, others] = [this.#wider, other.#wider];
    const wider = {
      demand: added(mine.demand, others.demand),
      arrivals: added(mine.arrivals, others.arrivals),
      replication: newestReplication([mine.replication, others.replication]),
    };
    if (a.rank !== b.rank) return new Sum(wider, a.rank > b.rank ? a : b);
    return new Sum(wider, {
      rank: a.rank,
      first: a.first,
      freshness: fresher(a.freshness, b.freshness),
      healthy: a.healthy + b.healthy,
      total: a.total + b.total,
      capacity: a.capacity + b.capacity,
      p50Sum: a.p50Sum + b.p50Sum,
      p50Count: a.p50Count + b.p50Count,
      stalenessMs: Math.max(a.stalenessMs, b.stalenessMs),
    });
  }

  /** As one place that is reached at `gateways`. @param offer what others may send there; undefined: not told. */
  at(gateways: readonly GatewayAddress[], offer: number | undefined = undefined): Part {
    const { first, freshness, healthy, total, capacity, p50Sum, p50Count, ...rest } = this.#places;
    const { demand, arrivals, replication } = this.#wider;
    const { port, appProtocol, drained } = first;
    const summary = compact({
      gateways: [...gateways],
      healthy: Math.min(healthy, ENDPOINTS_MAX),
      total: Math.min(total, ENDPOINTS_MAX),
      capacity:
        capacity === 0 || capacity === Number.POSITIVE_INFINITY ? undefined : told(capacity),
      offer: told(offer),
      demand: told(demand),
      arrivals: told(arrivals),
      stalenessMs: Number.isFinite(rest.stalenessMs) ? told(rest.stalenessMs) : undefined,
      replication,
      drained,
      p50Ms: p50Count === 0 ? undefined : told(quantise(p50Sum / p50Count)),
      port,
      appProtocol,
    });
    return { summary, freshness };
  }
}

/** The sum of one part or more, reached at `gateways`. @param offer what others may send there; undefined: not told. */
export function merge(
  parts: readonly Part[],
  gateways: readonly GatewayAddress[],
  offer: number | undefined = undefined,
): Part {
  return parts
    .map((part) => Sum.of(part))
    .reduce((a, b) => a.plus(b))
    .at(gateways, offer);
}

/** No more than others take. */
function told(amount: number | undefined): number | undefined {
  return amount === undefined ? undefined : Math.min(amount, AMOUNT_MAX);
}

function added(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);
}
