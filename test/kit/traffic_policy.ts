import type { TrafficPolicy } from "#model/traffic_policy.ts";

/** The `spec` of a TrafficPolicy for a Service `a` that says everything that one can say, flow YAML. */
export const EVERY_POLICY_FIELD = `{
    targetRef: { group: espalier.dev, kind: Service, name: a },
    balance: { algorithm: Maglev, hashOn: { type: Header, name: X-User }, slowStart: 30s, subsetSize: 20,
      panicPercent: 40, zoneAware: true },
    outliers: { consecutiveFailures: 4, ejection: 10s, maxEjection: 2m, maxEjectedPercent: 30, interval: 5s,
      successRate: { stdevFactor: 1.9, minHosts: 5, minRequests: 100 },
      failurePercentage: { threshold: 85, minHosts: 6, minRequests: 50 } },
    limits: { requests: 500, requestsPerCaller: 50, retries: 20, adaptive: true },
    waterfall: { deadBandPercent: 25, deadBand: 5ms, dwell: 2s, ramp: 10s },
    retries: { budgetPercent: 20, budgetPerSecond: 10 },
    hedging: { percentile: 95, minDelay: 20ms },
    priority: { class: critical, header: X-Priority },
    rateLimits: [
      { name: all, scope: Mesh, requests: 600, per: 1m, burst: 50 },
      { name: each, requests: 10, by: { type: Cookie, name: sid } },
      { name: asked, requests: 5, per: 500ms, by: { type: QueryParameter, name: key } },
      { name: place, requests: 1, by: { type: SourceAddress } },
      { name: who, requests: 1, by: { type: Caller } }],
    places: { mustStayIn: core.local, pin: core.local, split: [{ cluster: core.local, weight: 3 }] } }`;

/** What it means. */
export const EVERY_POLICY_MEANT = {
  balance: {
    algorithm: "Maglev",
    hashOn: { type: "Header", name: "x-user" },
    slowStartMs: 30_000,
    subsetSize: 20,
    panicShare: 0.4,
    zoneAware: true,
  },
  outliers: {
    consecutiveFailures: 4,
    ejectionMs: 10_000,
    ejectionMaxMs: 120_000,
    maxEjectedShare: 0.3,
    intervalMs: 5_000,
    successRate: { stdevFactor: 1.9, minHosts: 5, minRequests: 100 },
    failureShare: { threshold: 0.85, minHosts: 6, minRequests: 50 },
  },
  limits: { requests: 500, requestsPerCaller: 50, retries: 20, adaptive: true },
  waterfall: { deadBandShare: 0.25, deadBandMs: 5, dwellMs: 2_000, rampMs: 10_000 },
  retries: { budgetShare: 0.2, budgetPerSecond: 10 },
  hedging: { percentile: 95, minDelayMs: 20 },
  priority: { class: "critical", header: "x-priority" },
  rateLimits: [
    { name: "all", scope: "Mesh", rate: 10, burst: 50, leased: 10 },
    { name: "each", scope: "Local", rate: 10, burst: 10, by: { type: "Cookie", name: "sid" } },
    {
      name: "asked",
      scope: "Local",
      rate: 10,
      burst: 5,
      by: { type: "QueryParameter", name: "key" },
    },
    { name: "place", scope: "Local", rate: 1, burst: 1, by: { type: "SourceAddress" } },
    { name: "who", scope: "Local", rate: 1, burst: 1, by: { type: "Caller" } },
  ],
  places: {
    mustStayIn: "core.local",
    pin: "core.local",
    split: [{ cluster: "core.local", weight: 3 }],
  },
} as unknown as TrafficPolicy;

/** A TrafficPolicy with this `spec`, flow YAML. */
export function policyYaml(spec: string, name = "p"): string {
  return `---
apiVersion: espalier.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: ${name} }
spec: ${spec}
`;
}
