import type { Metrics, Sample } from "#kernel/metrics.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import type { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";

/** Where the numbers of the waterfall are. Everything is read at scrape time. */
interface RoutingSources {
  readonly services: () => Iterable<ServiceRuntime>;
  readonly now: () => number;
}

/** Registers what the waterfall goes by and what it comes to. */
export function registerRouting(metrics: Metrics, { services, now }: RoutingSources): void {
  const labels = ["service", "locale", "cluster"];
  type Read = (locale: LocaleState, balancer: ServiceBalancer) => number;
  const perLocale = (read: Read): Sample[] => {
    const samples: Sample[] = [];
    for (const { name, balancer } of services()) {
      balancer.bringUpToDate(now());
      for (const locale of balancer.locales) {
        const value = read(locale, balancer);
        // What knows no limit has no number.
        if (value === Number.POSITIVE_INFINITY) continue;
        samples.push({ labels: [name, locale.kind, locale.cluster], value });
      }
    }
    return samples;
  };
  metrics.gauge(
    {
      name: "espalier_locale_weight",
      help: "Share of a service's requests, 0 to 1.",
      labels,
      merge: "average",
    },
    () => perLocale((locale) => locale.weight),
  );
  metrics.gauge(
    {
      name: "espalier_locale_cost_seconds",
      help: "What the waterfall compares: expected response time through a locale and its egress price.",
      labels,
      merge: "average",
    },
    () => perLocale((locale, balancer) => balancer.costOf(locale, now()) / 1_000),
  );
  metrics.gauge(
    {
      name: "espalier_locale_bears",
      help: "Concurrent requests that a locale bears from this proxy: declared, granted, learnt, whichever is least.",
      labels,
    },
    () => perLocale((locale, balancer) => balancer.bearsOf(locale)),
  );
  metrics.gauge(
    {
      name: "espalier_locale_limit",
      help: "Concurrent requests that a locale has shown to bear from this proxy; absent until an overload has shown it.",
      labels,
    },
    () => perLocale((locale) => locale.limit.limit),
  );
  metrics.gauge(
    {
      name: "espalier_locale_inflight",
      help: "Requests that run in a locale, sent there by this proxy.",
      labels,
    },
    () => perLocale((locale) => locale.inflight),
  );
}
