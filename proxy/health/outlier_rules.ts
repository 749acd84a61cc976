import type { Millis } from "#kernel/brand.ts";
import type { OutlierPolicy } from "#model/traffic_policy.ts";
import { EJECTION, type EjectionRules } from "#proxy/health/outlier.ts";

/** When endpoints of a locale that have had enough requests are compared. */
interface Comparison {
  /** Endpoints that must have had enough requests. */
  readonly minHosts: number;
  /** Requests of one of them in one interval that are enough. */
  readonly minRequests: number;
}

/** All that passive health goes by; what a policy leaves out is as the defaults say. */
export interface OutlierRules {
  readonly consecutive: EjectionRules;
  /** Part of a locale's endpoints that may be out at once, one always; by failures in a row, and by comparison. */
  readonly consecutiveCap: number;
  readonly comparedCap: number;
  readonly intervalMs: Millis;
  /** Standard deviations below the mean that eject; 0: none. */
  readonly stdevFactor: number;
  readonly successRate: Comparison;
  /** Part of an endpoint's requests that eject it if they fail; 0: none. */
  readonly failureThreshold: number;
  readonly failureShare: Comparison;
}

/** Of Envoy: interval, hosts, requests, factor, threshold, and the cap of what is found by comparing. */
const INTERVAL_MS: Millis = 10_000;
const STDEV_FACTOR = 1.9;
const FAILURE_THRESHOLD = 0.85;
const MIN_HOSTS = 5;
const RATE_REQUESTS = 100;
const FAILURE_REQUESTS = 50;
const COMPARED_CAP = 0.1;

/** The rules of a policy. A cap that it says holds for every reason. */
export function outlierRules(policy: OutlierPolicy | undefined): OutlierRules {
  return policy === undefined ? DEFAULTS : rulesOf(policy);
}

function rulesOf(policy: OutlierPolicy): OutlierRules {
  const after = policy.consecutiveFailures ?? EJECTION.after;
  const baseMs = policy.ejectionMs ?? EJECTION.baseMs;
  return {
    consecutive: {
      after: after === 0 ? Number.POSITIVE_INFINITY : after,
      baseMs,
      maxMs: Math.max(baseMs, policy.ejectionMaxMs ?? EJECTION.maxMs),
    },
    consecutiveCap: policy.maxEjectedShare ?? 1,
    comparedCap: policy.maxEjectedShare ?? COMPARED_CAP,
    intervalMs: policy.intervalMs ?? INTERVAL_MS,
    stdevFactor: policy.successRate?.stdevFactor ?? STDEV_FACTOR,
    successRate: {
      minHosts: policy.successRate?.minHosts ?? MIN_HOSTS,
      minRequests: policy.successRate?.minRequests ?? RATE_REQUESTS,
    },
    failureThreshold: policy.failureShare?.threshold ?? FAILURE_THRESHOLD,
    failureShare: {
      minHosts: policy.failureShare?.minHosts ?? MIN_HOSTS,
      minRequests: policy.failureShare?.minRequests ?? FAILURE_REQUESTS,
    },
  };
}

/** One for thousands of locales. */
const DEFAULTS = rulesOf({});
