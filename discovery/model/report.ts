/** What a gateway tells its control service of a service, for the summaries. */
export interface ServiceReport {
  readonly service: string;
  /** Endpoints of the local cluster that are not ejected. */
  readonly healthy: number;
  /** Median response time of the last answers, ms; absent before the first. */
  readonly p50Ms?: number;
  /** Requests running now. */
  readonly inflight: number;
}

/**
 * One report per service from those of several gateways, or of one's workers: all requests, and the mean of the
 * medians. Each judges health by its own traffic: an endpoint counts as healthy if the most favourable calls it so.
 */
export function mergeReports(parts: readonly (readonly ServiceReport[])[]): ServiceReport[] {
  const byService = Map.groupBy(parts.flat(), ({ service }) => service);
  return Array.from(byService, ([service, reports]) => {
    const p50s = reports.flatMap(({ p50Ms }) => p50Ms ?? []);
    return {
      service,
      healthy: Math.max(...reports.map(({ healthy }) => healthy)),
      inflight: sum(reports.map(({ inflight }) => inflight)),
      ...(p50s.length === 0 ? {} : { p50Ms: sum(p50s) / p50s.length }),
    };
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
