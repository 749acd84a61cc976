import type { Millis } from "#kernel/brand.ts";
import type { Metrics, Sample } from "#kernel/metrics.ts";
import { GRPC_STATUS_NAMES, GrpcStatus } from "#proxy/exchange/grpc.ts";
import { bucketOf, LATENCY_BOUNDS_S } from "#proxy/observe/latency_buckets.ts";

/** Methods of one service that are counted by name; calls of others are counted together. */
export const METHODS_MAX = 100;
/** A path of gRPC: the service with its package, and the method. */
const PATH = /^\/([A-Za-z_][\w.]{0,127})\/([A-Za-z_]\w{0,63})$/;

/** Statuses that come from a method itself: neither from what stands before it, nor where there is none. */
const BY_METHODS: ReadonlySet<number> = new Set([
  GrpcStatus.OK,
  GrpcStatus.INVALID_ARGUMENT,
  GrpcStatus.NOT_FOUND,
  GrpcStatus.ALREADY_EXISTS,
  GrpcStatus.FAILED_PRECONDITION,
  GrpcStatus.ABORTED,
  GrpcStatus.OUT_OF_RANGE,
]);

/** What was counted of one method. */
class MethodStats {
  readonly statuses = new Float64Array(GRPC_STATUS_NAMES.length);
  readonly latency = new Float64Array(LATENCY_BOUNDS_S.length + 1);
  latencySumS = 0;
  readonly service: string;
  readonly method: string;

  constructor(service: string, method: string) {
    this.service = service;
    this.method = method;
  }
}

/**
 * The calls of gRPC to one service of the mesh, by method. What a client makes up is no method: a name is kept from
 * the first call on whose status only the code of a method gives.
 */
export class GrpcStats {
  readonly #methods = new Map<string, MethodStats>();
  /** Methods beyond the bound, and those that nobody implements. */
  readonly #others = new MethodStats("", "");

  /** A call has ended. @param path its target. @param elapsedMs from its head to its end. */
  ended(path: string, status: number, elapsedMs: Millis): void {
    const stats = this.#methods.get(path) ?? this.#first(path, status);
    stats.statuses[status]! += 1;
    const seconds = elapsedMs / 1_000;
    stats.latency[bucketOf(seconds)]! += 1;
    stats.latencySumS += seconds;
  }

  #first(path: string, status: number): MethodStats {
    if (this.#methods.size >= METHODS_MAX || !BY_METHODS.has(status)) return this.#others;
    const named = PATH.exec(path);
    if (named === null) return this.#others;
    const stats = new MethodStats(named[1]!, named[2]!);
    this.#methods.set(path, stats);
    return stats;
  }

  *all(): Iterable<MethodStats> {
    yield* this.#methods.values();
    yield this.#others;
  }
}

/** One service's calls, under its name. */
export type NamedGrpcStats = readonly [service: string, stats: GrpcStats];

/** @param services those that have had calls, read at each scrape. */
export function registerGrpc(metrics: Metrics, services: () => Iterable<NamedGrpcStats>): void {
  const labels = ["service", "grpc_service", "grpc_method"];
  metrics.counter(
    {
      name: "espalier_grpc_calls_total",
      help: "Calls of gRPC that have ended, by method and status; without a method: beyond the bound, or none that an endpoint was seen to have.",
      labels: [...labels, "grpc_status"],
    },
    () =>
      [...services()].flatMap(([name, stats]) => [...stats.all()].flatMap((m) => counts(name, m))),
  );
  metrics.histogram(
    {
      name: "espalier_grpc_call_duration_seconds",
      help: "From a call's head to its status.",
      labels,
    },
    LATENCY_BOUNDS_S,
    () =>
      [...services()].flatMap(([name, stats]) =>
        [...stats.all()].map(({ service, method, latency, latencySumS }) => ({
          labels: [name, service, method],
          counts: latency,
          sum: latencySumS,
        })),
      ),
  );
}

function counts(name: string, { service, method, statuses }: MethodStats): Sample[] {
  const samples: Sample[] = [];
  for (let i = 0; i < statuses.length; i++) {
    if (statuses[i]! === 0) continue;
    samples.push({ labels: [name, service, method, GRPC_STATUS_NAMES[i]!], value: statuses[i]! });
  }
  return samples;
}
