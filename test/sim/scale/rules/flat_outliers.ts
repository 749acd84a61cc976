import type { Millis } from "#kernel/brand.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";
import type { FlatHosts, Host, Level } from "#test/sim/scale/rules/flat_hosts.ts";

/** Outlier detection as Envoy documents it (api/envoy/config/cluster/v3/outlier_detection.proto). */
export interface OutlierSettings {
  readonly consecutive: number;
  readonly intervalMs: Millis;
  readonly baseMs: Millis;
  readonly maxMs: Millis;
  /** Of all hosts of all levels, out at once; one always may. */
  readonly maxShare: number;
  /** Success rate outliers: hosts that must have had `volume` requests, and standard deviations. */
  readonly successRate?: {
    readonly minHosts: number;
    readonly volume: number;
    readonly stdevs: number;
  };
}

/** Envoy's defaults. */
export const ENVOY_OUTLIERS: OutlierSettings = {
  consecutive: 5,
  intervalMs: 10_000,
  baseMs: 30_000,
  maxMs: 300_000,
  maxShare: 0.1,
  successRate: { minHosts: 5, volume: 100, stdevs: 1.9 },
};

/** Takes hosts out and, at its intervals, back. */
export class FlatOutliers {
  readonly #hosts: FlatHosts;
  readonly #settings: OutlierSettings;
  readonly #total: number;
  readonly #out = new Set<Host>();
  #nextSweep: Millis;

  constructor(hosts: FlatHosts, levels: readonly Level[], settings: OutlierSettings) {
    this.#hosts = hosts;
    this.#settings = settings;
    this.#total = levels.reduce((sum, { total }) => sum + total, 0);
    this.#nextSweep = settings.intervalMs;
  }

  isOut(host: Host): boolean {
    return host.outUntil > 0;
  }

  /** Looks whether an interval is over. */
  sweep(now: Millis): void {
    while (now >= this.#nextSweep) {
      this.#interval(this.#nextSweep);
      this.#nextSweep += this.#settings.intervalMs;
    }
  }

  finished(host: Host, outcome: Outcome, now: Millis): void {
    if (outcome === "cancelled") return;
    host.requests++;
    if (outcome === "ok") {
      host.failures = 0;
      return;
    }
    host.errors++;
    host.failures++;
    if (host.failures >= this.#settings.consecutive) this.#eject(host, now);
  }

  #eject(host: Host, now: Millis): void {
    if (host.outUntil > 0) return;
    host.failures = 0;
    const most = Math.max(1, Math.floor(this.#total * this.#settings.maxShare));
    if (this.#out.size >= most) return;
    host.ejections++;
    const ms = Math.min(this.#settings.baseMs * host.ejections, this.#settings.maxMs);
    host.outUntil = now + ms;
    host.level.ejected++;
    this.#out.add(host);
  }

  #interval(now: Millis): void {
    for (const host of this.#hosts.used()) {
      if (host.outUntil === 0 && host.ejections > 0) host.ejections--;
    }
    for (const host of this.#out) {
      if (now < host.outUntil) continue;
      host.outUntil = 0;
      host.level.ejected--;
      this.#out.delete(host);
    }
    const { successRate } = this.#settings;
    if (successRate !== undefined) this.#compare(successRate, now);
    for (const host of this.#hosts.used()) {
      host.requests = 0;
      host.errors = 0;
    }
  }

  #compare(rule: NonNullable<OutlierSettings["successRate"]>, now: Millis): void {
    const busy = [...this.#hosts.used()].filter(({ requests }) => requests >= rule.volume);
    if (busy.length < rule.minHosts) return;
    const rates = busy.map(({ requests, errors }) => 1 - errors / requests);
    const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
    const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
    const least = mean - rule.stdevs * Math.sqrt(variance);
    busy.forEach((host, i) => {
      if (rates[i]! < least) this.#eject(host, now);
    });
  }
}
