import type { Metrics, Sample } from "#kernel/metrics.ts";
import { FAILURES, type FailureName } from "#proxy/exchange/failure.ts";
import { GrpcStats, type NamedGrpcStats, registerGrpc } from "#proxy/observe/grpc_stats.ts";
import { bucketOf, LATENCY_BOUNDS_S } from "#proxy/observe/latency_buckets.ts";

const FAILURE_NAMES = Object.keys(FAILURES) as FailureName[];
const FAILURE_INDEX = new Map(FAILURE_NAMES.map((name, i) => [name, i]));

/** What was counted of one service (or of requests that reached none). Plain arrays: hot path. */
export class ServiceStats {
  /** Answers by hundreds: `[3]` counts 3xx. */
  readonly answers = new Float64Array(6);
  /** Failures seen, by index in `FAILURES`; one request can meet several. */
  readonly failures = new Float64Array(FAILURE_NAMES.length);
  readonly latency = new Float64Array(LATENCY_BOUNDS_S.length + 1);
  latencySumS = 0;
  /** From a request's head to the head of its answer; same bounds. */
  readonly firstByte = new Float64Array(LATENCY_BOUNDS_S.length + 1);
  firstByteSumS = 0;
  /** Of bodies and tunnels, as they pass. */
  requestBytes = 0;
  answerBytes = 0;
  /** Open now. */
  tunnels = 0;
  retries = 0;
  /** Retries that the budget forbade. */
  retriesDenied = 0;
  /** Second tries that began while the first one was still running … */
  hedges = 0;
  /** … and those whose answer came first. */
  hedgeWins = 0;
  /** Requests running now. */
  inflight = 0;
  #grpc: GrpcStats | undefined = undefined;

  /** Its calls of gRPC, made with the first one; undefined: there were none. */
  get grpc(): GrpcStats | undefined {
    return this.#grpc;
  }

  /** Counts a call of gRPC that has ended, besides what is counted of every request. */
  called(path: string, status: number, elapsedMs: number): void {
    this.#grpc ??= new GrpcStats();
    this.#grpc.ended(path, status, elapsedMs);
  }

  /** Counts an answered request. @param elapsedMs from its head to the end of its answer. */
  answered(status: number, elapsedMs: number): void {
    const hundreds = (status / 100) | 0;
    this.answers[hundreds]! += 1;
    const seconds = elapsedMs / 1000;
    this.latency[bucketOf(seconds)]! += 1;
    this.latencySumS += seconds;
  }

  /** Counts an answer's head on its way to the client. @param elapsedMs from the request's head. */
  answering(elapsedMs: number): void {
    const seconds = elapsedMs / 1000;
    this.firstByte[bucketOf(seconds)]! += 1;
    this.firstByteSumS += seconds;
  }

  failed(kind: FailureName): void {
    this.failures[FAILURE_INDEX.get(kind)!]! += 1;
  }
}

/** All services' statistics; outlives snapshots, so counters never go back. */
export class RequestStats {
  /** Requests that named no service that we know. */
  readonly unrouted = new ServiceStats();
  readonly #services = new Map<string, ServiceStats>();

  of(service: string): ServiceStats {
    let stats = this.#services.get(service);
    if (stats === undefined) {
      stats = new ServiceStats();
      this.#services.set(service, stats);
    }
    return stats;
  }

  /** Drops services that no snapshot names any more and that run nothing. */
  retain(names: ReadonlySet<string>): void {
    for (const [name, stats] of this.#services) {
      if (!names.has(name) && stats.inflight === 0) this.#services.delete(name);
    }
  }

  register(metrics: Metrics): void {
    const labels = ["service"];
    metrics.counter(
      {
        name: "espalier_requests_total",
        help: "Requests answered, by class of status.",
        labels: ["service", "code_class"],
      },
      () => this.#each((s, name) => byClass(name, s)),
    );
    metrics.counter(
      {
        name: "espalier_failures_total",
        help: "Failures met on the way of requests, by kind; a request that was tried again can meet several.",
        labels: ["service", "kind", "source"],
      },
      () => this.#each((s, name) => byFailure(name, s)),
    );
    metrics.histogram(
      {
        name: "espalier_request_duration_seconds",
        help: "From a request's head to the last byte of its answer.",
        labels,
      },
      LATENCY_BOUNDS_S,
      () => this.#each((s, name) => [{ labels: [name], counts: s.latency, sum: s.latencySumS }]),
    );
    metrics.histogram(
      {
        name: "espalier_response_first_byte_seconds",
        help: "From a request's head to the head of its answer, retries included.",
        labels,
      },
      LATENCY_BOUNDS_S,
      () =>
        this.#each((s, name) => [{ labels: [name], counts: s.firstByte, sum: s.firstByteSumS }]),
    );
    this.#registerBytes(metrics, labels);
    metrics.counter({ name: "espalier_retries_total", help: "Requests sent again.", labels }, () =>
      this.#each((s, name) => [{ labels: [name], value: s.retries }]),
    );
    metrics.counter(
      {
        name: "espalier_retries_denied_total",
        help: "Retries that the retry budget forbade.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.retriesDenied }]),
    );
    metrics.counter(
      {
        name: "espalier_hedges_total",
        help: "Second tries that began because the first one was slow.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.hedges }]),
    );
    metrics.counter(
      {
        name: "espalier_hedge_wins_total",
        help: "Second tries that were answered before the first one.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.hedgeWins }]),
    );
    registerGrpc(metrics, () => this.#callers());
    metrics.gauge(
      { name: "espalier_requests_inflight", help: "Requests running now.", labels },
      () => this.#each((s, name) => [{ labels: [name], value: s.inflight }]),
    );
  }

  #registerBytes(metrics: Metrics, labels: readonly string[]): void {
    metrics.counter(
      {
        name: "espalier_request_body_bytes_total",
        help: "Bytes of requests' bodies, and of tunnels from the client.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.requestBytes }]),
    );
    metrics.counter(
      {
        name: "espalier_response_body_bytes_total",
        help: "Bytes of answers' bodies, and of tunnels to the client.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.answerBytes }]),
    );
    metrics.gauge(
      {
        name: "espalier_tunnels_open",
        help: "Upgraded and TCP connections open now; they are inflight requests too.",
        labels,
      },
      () => this.#each((s, name) => [{ labels: [name], value: s.tunnels }]),
    );
  }

  *#callers(): Iterable<NamedGrpcStats> {
    for (const [name, { grpc }] of this.#services) if (grpc !== undefined) yield [name, grpc];
  }

  #each<T>(read: (stats: ServiceStats, name: string) => T[]): T[] {
    const samples = read(this.unrouted, "");
    for (const [name, stats] of this.#services) samples.push(...read(stats, name));
    return samples;
  }
}

function byClass(name: string, stats: ServiceStats): Sample[] {
  const samples: Sample[] = [];
  for (let i = 1; i < stats.answers.length; i++) {
    if (stats.answers[i]! > 0) {
      samples.push({ labels: [name, `${i}xx`], value: stats.answers[i]! });
    }
  }
  return samples;
}

function byFailure(name: string, stats: ServiceStats): Sample[] {
  const samples: Sample[] = [];
  for (let i = 0; i < FAILURE_NAMES.length; i++) {
    const kind = FAILURE_NAMES[i]!;
    if (stats.failures[i]! > 0) {
      samples.push({ labels: [name, kind, FAILURES[kind].source], value: stats.failures[i]! });
    }
  }
  return samples;
}
