import { line, nanos } from "#bench/micro/nanos.ts";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import type { Locale, Service } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { PERIOD_MS } from "#proxy/balance/waterfall.ts";

/*
 * What a routing decision costs where few or many locales are known: one that finds all as it was, one in
 * which the weights are looked at anew, and what they leave to the garbage collector.
 */

const SELF = "core.acme.mesh" as ClusterName;
const MESH = "acme.mesh" as MeshName;
const ANYWHERE: PickConstraint = { visited: [], tried: [], within: undefined, foreign: false };
const DECISIONS = 200_000;
/** Requests that run at the same time. */
const RUNNING = 16;

function balancerOf(locales: number, endpoints: number, capacity: number): ServiceBalancer {
  const place = (i: number): Locale => ({
    kind: i === 0 ? "local" : "child",
    cluster: i === 0 ? SELF : (`c${i}.${MESH}` as ClusterName),
    endpoints: Array.from({ length: i === 0 ? endpoints : 3 }, (_, e) => ({
      address: `10.${e >> 8}.${e & 255}.1`,
      port: 80,
      weight: 1,
    })),
    healthy: 3,
    capacity,
    p50Ms: 2 + (i % 50),
    egressMs: 0,
    freshness: "fresh",
  });
  const service: Service = {
    name: "menu.shop" as ServiceName,
    port: 80,
    appProtocol: "http",
    exported: true,
    locales: Array.from({ length: locales }, (_, i) => place(i)),
  };
  return new ServiceBalancer(service, { self: SELF, workers: 1 }, 0);
}

interface Cost {
  /** Of a decision, its begin and its end, ns; the weights looked at every 100 ms of 64 decisions per ms among them. */
  readonly decision: number;
  /** Of looking at the weights, ns. */
  readonly refresh: number;
  /** Bytes that a decision leaves behind. */
  readonly bytes: number;
}

function costOf(balancer: ServiceBalancer): Cost {
  const rng = seededRng(1);
  const running: EndpointState[] = [];
  let now = 0;
  let at = 0;
  const decide = (i: number): void => {
    if (i % 64 === 0) now += 1;
    const endpoint = balancer.pick(ANYWHERE, now, rng)!;
    balancer.started(endpoint, now);
    const ended = running[at];
    running[at] = endpoint;
    at = (at + 1) % RUNNING;
    if (ended !== undefined) balancer.finished(ended, "ok", 2, now);
  };
  const decision = nanos(decide);
  const refresh = nanos(() => {
    now += PERIOD_MS + 1;
    balancer.bringUpToDate(now);
  }, 2_000);
  const before = process.memoryUsage().heapUsed;
  let used = 0;
  let last = before;
  for (let i = 0; i < DECISIONS; i++) {
    decide(i);
    if (i % 100 !== 0) continue;
    const heap = process.memoryUsage().heapUsed;
    // What a collection has freed is not counted.
    if (heap > last) used += heap - last;
    last = heap;
  }
  return { decision, refresh, bytes: used / DECISIONS };
}

/** A line per size of the world. */
export function routingLines(): string[] {
  const lines: string[] = [];
  const add = (what: string, balancer: ServiceBalancer): void => {
    const { decision, refresh, bytes } = costOf(balancer);
    const beside = `${bytes.toFixed(0)} B each, weights anew ${(refresh / 1_000).toFixed(1)} µs`;
    lines.push(line(what, decision, beside));
  };
  for (const locales of [1, 10, 100, 2_000]) {
    add(`decide among ${locales} locales`, balancerOf(locales, 3, 1_000));
  }
  add("… 2,000, 12 of them in use", balancerOf(2_000, 3, 1.4));
  add("… 5,000 endpoints in one", balancerOf(1, 5_000, 100_000));
  return lines;
}
