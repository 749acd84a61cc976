import type { Metrics } from "#kernel/metrics.ts";
import { CHECK_RESULTS } from "#proxy/health/check_request.ts";
import type { EndpointChecker } from "#proxy/health/endpoint_checker.ts";

/** Registers what a process's health checks count. Workers that send none count none: the sum is the proxy's. */
export function registerChecks(metrics: Metrics, checker: EndpointChecker): void {
  metrics.counter(
    {
      name: "espalier_health_checks_total",
      help: "Health checks of endpoints that have ended, by result; skipped: nothing could be sent for want of something here.",
      labels: ["service", "result"],
    },
    () =>
      Array.from(checker.counts()).flatMap(([service, counts]) =>
        CHECK_RESULTS.map((result) => ({ labels: [service, result], value: counts[result] })),
      ),
  );
}
