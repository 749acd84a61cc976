import type { ServiceReport } from "#model/report.ts";

/**
 * One report per service from those of several workers. Each worker judges health by its own traffic:
 * an endpoint counts as healthy if the most favourable worker calls it so.
 */
export function mergeReports(parts: readonly (readonly ServiceReport[])[]): ServiceReport[] {
  const merged = new Map<string, ServiceReport>();
  for (const report of parts.flat()) {
    const before = merged.get(report.service);
    merged.set(report.service, before === undefined ? report : mergeTwo(before, report));
  }
  return [...merged.values()];
}

function mergeTwo(a: ServiceReport, b: ServiceReport): ServiceReport {
  const p50s = [a.p50Ms, b.p50Ms].filter((p50) => p50 !== undefined);
  return {
    service: a.service,
    healthy: Math.max(a.healthy, b.healthy),
    inflight: a.inflight + b.inflight,
    ...(p50s.length === 0 ? {} : { p50Ms: p50s.reduce((sum, p) => sum + p, 0) / p50s.length }),
  };
}
