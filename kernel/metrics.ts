import { AggregatorRegistry, Counter, Gauge, Histogram, Registry } from "prom-client";

/**
 * What one metric shows at scrape time: a value per combination of label values. Owners keep plain
 * numbers; nothing here runs on a hot path.
 */
export interface Sample {
  /** Values in the order of the metric's `labels`. */
  readonly labels: readonly string[];
  readonly value: number;
}

/** Counts per bucket, not cumulative: `counts[i]` fell into bucket `i`; the last one is +Inf. */
export interface HistogramSample {
  readonly labels: readonly string[];
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

/** Name, meaning and labels of a metric. */
export interface MetricSpec {
  /** Prometheus name with its unit: `espalier_requests_total`, `espalier_link_rtt_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** What several processes' values of a gauge come to; left out: their sum. */
  readonly merge?: "sum" | "average" | "min" | "max";
}

/** The metrics of one process, read when somebody asks (`collect()` of prom-client). */
export class Metrics {
  readonly #registry = new Registry();

  /** @param labels which all of them have besides their own. */
  constructor(labels: Readonly<Record<string, string>> = {}) {
    this.#registry.setDefaultLabels(labels);
  }

  /** A value that only grows. `read` is called at each scrape. */
  counter(spec: MetricSpec, read: () => Iterable<Sample>): void {
    const metric: Counter<string> = new Counter({
      name: spec.name,
      help: spec.help,
      labelNames: [...spec.labels],
      registers: [this.#registry],
      collect: () => {
        metric.reset();
        for (const s of read()) metric.inc(named(spec.labels, s.labels), s.value);
      },
    });
  }

  /** A value that goes up and down. `read` is called at each scrape. */
  gauge(spec: MetricSpec, read: () => Iterable<Sample>): void {
    const metric: Gauge<string> = new Gauge({
      name: spec.name,
      aggregator: spec.merge ?? "sum",
      help: spec.help,
      labelNames: [...spec.labels],
      registers: [this.#registry],
      collect: () => {
        metric.reset();
        for (const s of read()) metric.set(named(spec.labels, s.labels), s.value);
      },
    });
  }

  /** @param bounds upper bounds, ascending, in the metric's unit; +Inf is implied. */
  histogram(
    spec: MetricSpec,
    bounds: readonly number[],
    read: () => Iterable<HistogramSample>,
  ): void {
    const histogram = new Histogram({
      name: spec.name,
      help: spec.help,
      labelNames: [...spec.labels],
      buckets: [...bounds],
      registers: [],
    });
    // prom-client has no way to set a histogram's counts, so its text is produced from ours.
    const shown = async () => ({
      name: spec.name,
      help: spec.help,
      type: "histogram",
      aggregator: "sum",
      values: [...read()].flatMap((s) => histogramValues(spec, bounds, s)),
    });
    // The first for `data()`, the second for `text()`.
    const replaced = { get: shown, getForPromString: shown };
    Object.assign(histogram, replaced);
    this.#registry.registerMetric(histogram);
  }

  /** Prometheus text exposition format 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** The same as plain data, for a process that adds up several: see `mergedText`. */
  data(): Promise<MetricsData> {
    return this.#registry.getMetricsAsJSON() as Promise<MetricsData>;
  }

  /** `Content-Type` of `text()`. */
  get contentType(): string {
    return this.#registry.contentType;
  }
}

/** Metrics as plain data that survives a process boundary. Opaque. */
export type MetricsData = readonly object[];

/** What is kept of processes that have ended: counters and histograms, summed, so that no sum goes back. */
export function countersOf(parts: readonly MetricsData[]): MetricsData {
  const byName = new Map<
    string,
    Omit<PlainMetric, "values"> & { readonly values: Map<string, PlainValue> }
  >();
  for (const metric of parts.flat() as PlainMetric[]) {
    if (metric.type === "gauge") continue;
    const known = byName.get(metric.name);
    const values = known?.values ?? new Map<string, PlainValue>();
    if (known === undefined) byName.set(metric.name, { ...metric, values });
    for (const one of metric.values) {
      const key = JSON.stringify([one.metricName, one.labels]);
      values.set(key, { ...one, value: one.value + (values.get(key)?.value ?? 0) });
    }
  }
  return [...byName.values()].map((metric) => ({ ...metric, values: [...metric.values.values()] }));
}

interface PlainMetric {
  readonly name: string;
  readonly type: string;
  readonly values: Iterable<PlainValue>;
}

interface PlainValue {
  readonly metricName?: string;
  readonly labels: object;
  readonly value: number;
}

/** One exposition of several processes' metrics: values with equal labels are merged as `MetricSpec` says. */
export function mergedText(parts: readonly MetricsData[]): Promise<string> {
  return AggregatorRegistry.aggregate(parts as object[][] as never).metrics();
}

function named(names: readonly string[], values: readonly string[]): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let i = 0; i < names.length; i++) labels[names[i]!] = values[i] ?? "";
  return labels;
}

function histogramValues(spec: MetricSpec, bounds: readonly number[], sample: HistogramSample) {
  const labels = named(spec.labels, sample.labels);
  let total = 0;
  const values: Array<{
    metricName: string;
    labels: Record<string, string | number>;
    value: number;
  }> = [];
  for (let i = 0; i <= bounds.length; i++) {
    total += sample.counts[i] ?? 0;
    const le = i < bounds.length ? bounds[i]! : "+Inf";
    values.push({ metricName: `${spec.name}_bucket`, labels: { le, ...labels }, value: total });
  }
  values.push({ metricName: `${spec.name}_sum`, labels, value: sample.sum });
  values.push({ metricName: `${spec.name}_count`, labels, value: total });
  return values;
}
