import type { SnapshotHub } from "#control/api/snapshot_hub.ts";
import type { Metrics } from "#kernel/metrics.ts";
import type { ClusterName } from "#model/names.ts";

/** What TrafficPolicies come to in one cluster, as its gateway is told. */
export function registerPolicies(metrics: Metrics, cluster: ClusterName, hub: SnapshotHub): void {
  const gauge = (name: string, help: string, value: () => number): void =>
    metrics.gauge({ name, help, labels: ["cluster"] }, () => [
      { labels: [cluster], value: value() },
    ]);
  const services = () => hub.newest("gateway")?.services ?? [];
  gauge(
    "espalier_policy_services",
    "Services for which a TrafficPolicy is in force.",
    () => services().filter(({ policy }) => policy !== undefined).length,
  );
  gauge(
    "espalier_policy_refused",
    "What policies say of services and what does not hold: looser than above, or contradictory.",
    () =>
      services()
        .flatMap(({ policyOrigins = [] }) => policyOrigins)
        .reduce((sum, { refused }) => sum + refused.length, 0),
  );
}
