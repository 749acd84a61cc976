import type { Metrics, Sample } from "#kernel/metrics.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import { EJECTION_REASONS } from "#proxy/health/outlier_detector.ts";
import type { ServiceRuntime } from "#proxy/relay/plan.ts";

/** Registers what requests and their answers tell of endpoints' health. */
export function registerHealth(metrics: Metrics, services: () => Iterable<ServiceRuntime>): void {
  const perLocale = (read: (locale: LocaleState, labels: string[]) => Sample[]): Sample[] => {
    const samples: Sample[] = [];
    for (const { name, balancer } of services()) {
      for (const locale of balancer.locales) samples.push(...read(locale, [name, locale.cluster]));
    }
    return samples;
  };
  metrics.counter(
    {
      name: "espalier_ejections_total",
      help: "Endpoints that were taken out because of how requests went, by reason.",
      labels: ["service", "cluster", "reason"],
    },
    () =>
      perLocale(({ outliers }, labels) =>
        EJECTION_REASONS.map((reason) => ({
          labels: [...labels, reason],
          value: outliers.counts.ejections[reason],
        })),
      ),
  );
  metrics.counter(
    {
      name: "espalier_load_reports_total",
      help: "Load reports of endpoints (ORCA): read, or refused for being none.",
      labels: ["service", "cluster", "result"],
    },
    () =>
      perLocale(({ outliers: { counts }, kind }, labels) => {
        if (kind !== "local") return [];
        const { read, refused } = counts.reports;
        return [
          { labels: [...labels, "read"], value: read },
          { labels: [...labels, "refused"], value: refused },
        ];
      }),
  );
  metrics.gauge(
    {
      name: "espalier_panic",
      help: "1 while so few endpoints are well that those are used as well which checks or comparisons speak against.",
      labels: ["service", "cluster"],
      merge: "max",
    },
    () =>
      perLocale(({ panics, kind }, labels) =>
        kind === "local" ? [{ labels, value: panics ? 1 : 0 }] : [],
      ),
  );
}
