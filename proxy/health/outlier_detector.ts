import type { Millis } from "#kernel/brand.ts";
import type { OutlierPolicy } from "#model/traffic_policy.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { asShare, mix32 } from "#proxy/balance/hash.ts";
import { afterRequest, CONNECT_FAILURE_WEIGHT, ejectionMs } from "#proxy/health/outlier.ts";
import { type OutlierRules, outlierRules } from "#proxy/health/outlier_rules.ts";

/** Why endpoints are ejected. */
export const EJECTION_REASONS = ["consecutive_failures", "success_rate", "failure_share"] as const;
/** One of them. */
export type EjectionReason = (typeof EJECTION_REASONS)[number];

interface Counts {
  readonly ejections: Record<EjectionReason, number>;
  readonly reports: { read: number; refused: number };
}

/** What requests have told of a locale's endpoints, since the process began. */
export interface PassiveCounts {
  readonly ejections: Readonly<Record<EjectionReason, number>>;
  /** Load reports that were read, and that could not be. */
  readonly reports: Readonly<Counts["reports"]>;
}

/** An endpoint whose success rate is less than that below the mean is left alone, however alike the others are. */
const RATE_MARGIN = 0.05;
/** Who is found by comparing is out for an interval, then twice as long each time, up to this many intervals. */
const INTERVALS_MAX = 6;

interface Tally {
  readonly state: EndpointState;
  ok: number;
  failed: number;
  /** Ejections by comparison, less the intervals since in which it was compared and not found. */
  found: number;
}

/**
 * Passive health of one locale's endpoints: who is ejected because of how requests went. By failures in a row at once;
 * by comparison with the others (success rate, share of failures) once in an interval.
 */
export class OutlierDetector {
  readonly #rules: OutlierRules;
  readonly #endpoints: readonly EndpointState[];
  readonly #seed: number | undefined;
  /** Undefined, as what follows: there was no request yet. Most of thousands of locales have none. */
  #counts: Counts | undefined;
  #tallies: ReadonlyMap<EndpointState, Tally> | undefined;
  /** Undefined: nobody has asked yet. */
  #nextAt: Millis | undefined;

  /**
   * @param policy undefined: the defaults.
   * @param endpoints of one locale; the detector is for exactly these.
   * @param seed tells this worker from all others, so that they do not let endpoints back in step; undefined: they do.
   * @param previous of the same locale in the snapshot before.
   */
  constructor(
    policy: OutlierPolicy | undefined,
    endpoints: readonly EndpointState[],
    seed?: number | undefined,
    previous?: OutlierDetector | undefined,
  ) {
    this.#rules = outlierRules(policy);
    this.#endpoints = endpoints;
    this.#seed = seed;
    if (previous === undefined) return;
    this.#counts = previous.#counts;
    this.#nextAt = previous.#nextAt;
    if (previous.#tallies !== undefined) this.#tallies = talliesOf(endpoints, previous.#tallies);
  }

  /** Of all detectors that the locale has had. */
  get counts(): PassiveCounts {
    return this.#counts ?? NONE;
  }

  /** An answer had a load report, or something in the place of one. */
  countReport(result: "read" | "refused"): void {
    this.#counting().reports[result]++;
  }

  /** A try has ended. True: the endpoint is ejected by it, and may have been the last one of its locale. */
  afterTry(endpoint: EndpointState, outcome: Outcome, now: Millis): boolean {
    if (outcome === "cancelled") return false;
    this.#tallies ??= talliesOf(this.#endpoints);
    const tally = this.#tallies.get(endpoint);
    const before = endpoint.outlier;
    // Who says that it is too much is well, and is spared by limits.
    if (outcome === "ok" || outcome === "limited") {
      if (tally !== undefined) tally.ok++;
      endpoint.outlier = afterRequest(before, 0, now);
      return false;
    }
    if (tally !== undefined) tally.failed++;
    const weight = outcome === "unreachable" ? CONNECT_FAILURE_WEIGHT : 1;
    const { consecutive, consecutiveCap } = this.#rules;
    const jitter = this.#jitter(endpoint, before.ejections);
    const after = afterRequest(before, weight, now, consecutive, jitter);
    if (after.ejectedUntil === before.ejectedUntil) {
      endpoint.outlier = after;
      return false;
    }
    if (consecutiveCap < 1 && !this.#hasRoom(consecutiveCap, now)) {
      endpoint.outlier = { ...before, failures: after.failures };
      return false;
    }
    endpoint.outlier = after;
    endpoint.eject(after.ejectedUntil, now);
    this.#counting().ejections.consecutive_failures++;
    return true;
  }

  /** Compares the endpoints with each other where it is time to; to be called often. True: one is ejected by it. */
  review(now: Millis): boolean {
    const { intervalMs } = this.#rules;
    // Workers of one proxy, and proxies of one cluster, need not eject in the same moment.
    this.#nextAt ??= now + intervalMs * (1 + 0.5 * asShare(mix32(this.#seed ?? 0)));
    if (now < this.#nextAt) return false;
    this.#nextAt = now + intervalMs;
    if (this.#tallies === undefined) return false;
    const ejected = this.#compareRates(now) + this.#compareFailures(now);
    for (const tally of this.#tallies.values()) {
      const isCleared = tally.ok + tally.failed >= this.#rules.successRate.minRequests;
      if (tally.found > 0 && isCleared && !tally.state.isEjected(now)) tally.found--;
      tally.ok = 0;
      tally.failed = 0;
    }
    return ejected > 0;
  }

  /** @returns how many are ejected. */
  #compareRates(now: Millis): number {
    const { stdevFactor, successRate } = this.#rules;
    if (stdevFactor === 0) return 0;
    const compared = this.#withEnough(successRate.minRequests);
    if (compared.length < successRate.minHosts) return 0;
    const rates = compared.map(rateOf);
    const mean = rates.reduce((a, b) => a + b, 0) / rates.length;
    const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
    // Where all but one are perfect, a single failure is many deviations away.
    const least = mean - Math.max(RATE_MARGIN, stdevFactor * Math.sqrt(variance));
    return this.#eject(compared, (tally) => rateOf(tally) < least, "success_rate", now);
  }

  #compareFailures(now: Millis): number {
    const { failureThreshold, failureShare } = this.#rules;
    if (failureThreshold === 0) return 0;
    const compared = this.#withEnough(failureShare.minRequests);
    if (compared.length < failureShare.minHosts) return 0;
    const fails = (tally: Tally): boolean => 1 - rateOf(tally) >= failureThreshold;
    return this.#eject(compared, fails, "failure_share", now);
  }

  #counting(): Counts {
    this.#counts ??= noCounts();
    return this.#counts;
  }

  #withEnough(requests: number): Tally[] {
    return [...this.#tallies!.values()].filter(({ ok, failed }) => ok + failed >= requests);
  }

  /** The worst first, as far as the cap allows. */
  #eject(
    compared: readonly Tally[],
    isOutlier: (tally: Tally) => boolean,
    reason: EjectionReason,
    now: Millis,
  ): number {
    const found = compared.filter((one) => isOutlier(one) && !one.state.isEjected(now));
    found.sort((a, b) => rateOf(a) - rateOf(b));
    let ejected = 0;
    for (const tally of found) {
      if (!this.#hasRoom(this.#rules.comparedCap, now)) break;
      const { state } = tally;
      const { intervalMs: baseMs } = this.#rules;
      const times = { baseMs, maxMs: INTERVALS_MAX * baseMs };
      state.outlierUntil = now + ejectionMs(times, tally.found, this.#jitter(state, tally.found));
      state.eject(state.outlierUntil, now);
      tally.found++;
      this.#counting().ejections[reason]++;
      ejected++;
    }
    return ejected;
  }

  /** Whether one more may be ejected; one always may. */
  #hasRoom(cap: number, now: Millis): boolean {
    let ejected = 0;
    for (const state of this.#endpoints) if (state.isEjected(now)) ejected++;
    return ejected === 0 || ejected + 1 <= cap * this.#endpoints.length;
  }

  /** 0 to 1, another one for each worker, endpoint and time. */
  #jitter({ hash }: EndpointState, times: number): number {
    return this.#seed === undefined ? 0 : asShare(mix32(hash ^ mix32(this.#seed + times)));
  }
}

function talliesOf(
  endpoints: readonly EndpointState[],
  known?: ReadonlyMap<EndpointState, Tally>,
): ReadonlyMap<EndpointState, Tally> {
  return new Map(
    endpoints.map((state) => [state, known?.get(state) ?? { state, ok: 0, failed: 0, found: 0 }]),
  );
}

function rateOf({ ok, failed }: Tally): number {
  return ok / (ok + failed);
}

function noCounts(): Counts {
  return {
    ejections: { consecutive_failures: 0, success_rate: 0, failure_share: 0 },
    reports: { read: 0, refused: 0 },
  };
}

const NONE: PassiveCounts = noCounts();
