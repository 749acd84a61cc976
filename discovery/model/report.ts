/** What a gateway tells its control service of a service, for the summaries. */
export interface ServiceReport {
  readonly service: string;
  /** Endpoints of the local cluster that are not ejected. */
  readonly healthy: number;
  /** Median response time of the last answers, ms; absent before the first. */
  readonly p50Ms?: number;
  /** Requests running now. */
  readonly inflight: number;
  /** Concurrent requests that clients of this cluster want served, here or elsewhere, as it was lately. */
  readonly demand?: number;
  /** Requests per second that they bring. */
  readonly arrivals?: number;
  /** Concurrent requests that the local endpoints have shown to bear; absent: not learnt yet. */
  readonly limit?: number;
  /** How old the data of the local replica is at most, ms; absent: it does not say. */
  readonly stalenessMs?: number;
}

/**
 * One report per service from those of several gateways, or of one's workers: all requests, and the mean of the
 * medians. Each judges health by its own traffic: an endpoint counts as healthy if the most favourable calls it so.
 */
export function mergeReports(parts: readonly (readonly ServiceReport[])[]): ServiceReport[] {
  const byService = Map.groupBy(parts.flat(), ({ service }) => service);
  return Array.from(byService, ([service, reports]) => {
    const numbers = (of: (report: ServiceReport) => number | undefined): number[] =>
      reports.flatMap((report) => of(report) ?? []);
    const demands = numbers(({ demand }) => demand);
    const arrivals = numbers(({ arrivals: rate }) => rate);
    const limits = numbers(({ limit }) => limit);
    const ages = numbers(({ stalenessMs }) => stalenessMs);
    const p50s = reports.flatMap(({ p50Ms }) => p50Ms ?? []);
    return {
      service,
      healthy: Math.max(...reports.map(({ healthy }) => healthy)),
      inflight: sum(reports.map(({ inflight }) => inflight)),
      ...(demands.length === 0 ? {} : { demand: sum(demands) }),
      ...(arrivals.length === 0 ? {} : { arrivals: sum(arrivals) }),
      // Who has learnt none bears what it is given: a sum without it would be too low.
      ...(limits.length < reports.length ? {} : { limit: sum(limits) }),
      ...(ages.length === 0 ? {} : { stalenessMs: Math.max(...ages) }),
      ...(p50s.length === 0 ? {} : { p50Ms: sum(p50s) / p50s.length }),
    };
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
