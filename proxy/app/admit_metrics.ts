import type { Metrics, Sample } from "#kernel/metrics.ts";
import { PRIORITIES } from "#model/traffic_policy.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";

/** Registers what is let in and what is not. Names of limits are those of the configuration. */
export function registerAdmission(
  metrics: Metrics,
  services: () => Iterable<ServiceRuntime>,
): void {
  const each = (read: (service: ServiceRuntime) => Iterable<Sample>): Sample[] => {
    const samples: Sample[] = [];
    for (const service of services()) samples.push(...read(service));
    return samples;
  };
  metrics.counter(
    {
      name: "espalier_requests_shed_total",
      help: "Requests that were not let in, by reason (a failure's name) and class.",
      labels: ["service", "reason", "priority"],
    },
    () =>
      each(({ name, admission }) =>
        Array.from(admission.refused).flatMap(([reason, counts]) =>
          PRIORITIES.map((priority) => ({
            labels: [name, reason, priority],
            value: counts[priority],
          })),
        ),
      ),
  );
  metrics.counter(
    {
      name: "espalier_rate_limited_total",
      help: "Requests over a rate limit, by its name.",
      labels: ["service", "limit"],
    },
    () =>
      each(({ name, admission }) =>
        admission.buckets.map(({ rules, refused }) => ({
          labels: [name, rules.name],
          value: refused,
        })),
      ),
  );
  metrics.gauge(
    {
      name: "espalier_rate_limit_tokens_per_second",
      help: "Requests per second that a rate limit lets pass here now; for each client, if it tells them apart.",
      labels: ["service", "limit"],
    },
    () =>
      each(({ name, admission }) =>
        admission.buckets.map(({ rules, rate }) => ({ labels: [name, rules.name], value: rate })),
      ),
  );
  metrics.gauge(
    {
      name: "espalier_requests_admitted",
      help: "Requests that were let in and have not ended.",
      labels: ["service"],
    },
    () => each(({ name, admission }) => [{ labels: [name], value: admission.inflight }]),
  );
}
