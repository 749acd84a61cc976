import type { Millis } from "#kernel/brand.ts";
import type { Rng } from "#kernel/rng.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import { PeakEwma } from "#proxy/balance/peak_ewma.ts";
import type { Ask } from "#test/sim/scale/rule.ts";
import { FlatHosts, type Host, type Level, servingIn } from "#test/sim/scale/rules/flat_hosts.ts";
import { ENVOY_OUTLIERS, FlatOutliers } from "#test/sim/scale/rules/flat_outliers.ts";
import { FlatRule } from "#test/sim/scale/rules/flat_rule.ts";
import type { Place, Topology } from "#test/sim/scale/topology.ts";

/** Clusters that are looked at: the nearest. */
const KNOWN = 24;
/** A failure counts as that slow at least. */
const FAILURE_MS = 1_000;

interface Candidate {
  readonly level: Level;
  readonly ewma: PeakEwma;
  readonly rttMs: Millis;
}

/**
 * Latency without capacity: the cluster with the least peak-EWMA of its response times gets everything, and of two
 * of its endpoints the one with the least product of that and its requests. No capacity, no grant, no dead band.
 */
export class LatencyOnly extends FlatRule {
  readonly #hosts: FlatHosts;
  readonly #candidates: readonly Candidate[];
  readonly #byCluster = new Map<number, Candidate>();
  readonly #own = new Map<Host, PeakEwma>();
  readonly #outliers: FlatOutliers;
  readonly #rng: Rng;

  constructor(topology: Topology, place: Place, rng: Rng) {
    super();
    this.#rng = rng;
    this.#hosts = new FlatHosts(topology, place);
    const nearest = servingIn(topology)
      .map((id) => ({ id, rttMs: topology.rttMs(place.id, id) }))
      .sort((a, b) => a.rttMs - b.rttMs)
      .slice(0, KNOWN);
    this.#candidates = nearest.map(({ id, rttMs }) => {
      const level = id === place.id ? this.#hosts.local() : this.#hosts.level([id]);
      const ewma = new PeakEwma(rttMs + topology.shape.serviceMs, 0);
      const candidate = { level, ewma, rttMs };
      this.#byCluster.set(id, candidate);
      return candidate;
    });
    const levels = this.#candidates.map(({ level }) => level);
    // Ejection without a cap, or a dead place would be asked again as soon as its average has decayed.
    this.#outliers = new FlatOutliers(this.#hosts, levels, { ...ENVOY_OUTLIERS, maxShare: 1 });
  }

  override pick({ visited, tried }: Ask<Host>, now: Millis): Host | undefined {
    this.#outliers.sweep(now);
    if (visited.length > 0) {
      const own = this.#byCluster.get(this.#hosts.place.id);
      return own && this.#inside(own, tried, now);
    }
    let best: Host | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const candidate of this.#candidates) {
      const cost = candidate.ewma.read(now);
      if (cost >= least && best !== undefined) continue;
      const host = this.#inside(candidate, tried, now);
      if (host === undefined) continue;
      // What is out or has failed already is taken only if there is nothing else.
      const isLast = tried.includes(host) || this.#outliers.isOut(host);
      if (isLast && best !== undefined) continue;
      best = host;
      least = isLast ? Number.POSITIVE_INFINITY : cost;
    }
    return best;
  }

  override finished(host: Host, outcome: Outcome, latencyMs: Millis, now: Millis): void {
    super.finished(host, outcome, latencyMs, now);
    this.#outliers.finished(host, outcome, now);
    if (outcome === "cancelled") return;
    const counted = outcome === "ok" ? latencyMs : Math.max(latencyMs, FAILURE_MS);
    this.#byCluster.get(Math.floor(host.id / 64))!.ewma.add(counted, now);
    this.#ewmaOf(host, now).add(counted, now);
  }

  /** The less loaded of two that are not out. */
  #inside({ level }: Candidate, tried: readonly Host[], now: Millis): Host | undefined {
    const a = this.#usable(level, tried);
    const b = this.#usable(level, tried);
    if (a === undefined || b === undefined) return a ?? b;
    return this.#loadOf(a, now) <= this.#loadOf(b, now) ? a : b;
  }

  #usable(level: Level, tried: readonly Host[]): Host | undefined {
    const { length } = level.slots;
    const from = this.#rng.below(length);
    for (let i = 0; i < length; i++) {
      const host = this.#hosts.at(level, (from + i) % length);
      if (!this.#outliers.isOut(host) && !tried.includes(host)) return host;
    }
    return this.#hosts.at(level, from);
  }

  #loadOf(host: Host, now: Millis): number {
    return this.#ewmaOf(host, now).read(now) * (host.inflight + 1);
  }

  #ewmaOf(host: Host, now: Millis): PeakEwma {
    let ewma = this.#own.get(host);
    if (ewma === undefined) {
      ewma = new PeakEwma(host.rttMs + 1, now);
      this.#own.set(host, ewma);
    }
    return ewma;
  }
}
