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
  /** What several processes of one proxy show together; absent: the sum. */
  readonly together?: "average" | "min" | "max";
}

/** The metrics of one process, read when somebody asks (`collect()` of prom-client). */
export class Metrics {
  readonly #registry = new Registry();

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
      aggregator: spec.together ?? "sum",
      name: spec.name,
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

/** One exposition of several processes' metrics; values with equal labels are summed. */
export function mergedText(parts: readonly MetricsData[]): Promise<string> {
  return AggregatorRegistry.aggregate(parts as object[][] as never).metrics();
}

/** Of several processes' metrics what only grows, summed: what is left of those that have ended. */
export async function mergedCounters(parts: readonly MetricsData[]): Promise<MetricsData> {
  const growing = parts.map((part) => part.filter((metric) => !isGauge(metric)) as object[]);
  return AggregatorRegistry.aggregate(growing as never).getMetricsAsJSON() as Promise<MetricsData>;
}

function isGauge(metric: object): boolean {
  return (metric as { readonly type?: unknown }).type === "gauge";
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
