import { compact } from "#control/compile/compact.ts";
import type { HealthCheckSpec } from "#control/config/schema_health.ts";
import type { HealthCheck } from "#model/health_check.ts";

const TIMEOUT_MS = 1_000;

/** What a Service says of checks; undefined if it says nothing. */
export function compileHealthCheck(spec: HealthCheckSpec | undefined): HealthCheck | undefined {
  if (spec === undefined) return undefined;
  const { grpc, http, tcp, interval, timeout, unhealthyThreshold, healthyThreshold } = spec;
  return compact({
    grpc,
    http: http && compact({ path: http.path, statuses: http.expectedStatuses, host: http.host }),
    tcp,
    intervalMs: interval,
    timeoutMs: timeout ?? Math.min(TIMEOUT_MS, interval),
    unhealthyThreshold,
    healthyThreshold,
  });
}
