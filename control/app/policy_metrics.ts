import type { ControlService } from "#control/app/control_service.ts";
import type { Metrics } from "#kernel/metrics.ts";
import type { Service } from "#model/snapshot.ts";

/** What TrafficPolicies come to in each of these clusters, as its gateway is told. */
export function registerPolicies(
  metrics: Metrics,
  controls: () => readonly Pick<ControlService, "cluster" | "hub">[],
): void {
  const gauge = (name: string, help: string, of: (service: Service) => number): void =>
    metrics.gauge({ name, help, labels: ["cluster"] }, () =>
      controls().map(({ cluster, hub }) => {
        const services = hub.newest("gateway")?.services ?? [];
        return { labels: [cluster], value: services.reduce((sum, one) => sum + of(one), 0) };
      }),
    );
  gauge(
    "espalier_policy_services",
    "Services for which a TrafficPolicy is in force.",
    ({ policy }) => (policy === undefined ? 0 : 1),
  );
  gauge(
    "espalier_policy_refused",
    "What policies say of services and what does not hold: looser than above, or contradictory.",
    ({ policyOrigins = [] }) => policyOrigins.reduce((sum, one) => sum + one.refused.length, 0),
  );
}
