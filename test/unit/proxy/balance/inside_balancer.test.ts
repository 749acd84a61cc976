import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot, type Service } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { must } from "#test/kit/mesh.ts";

const SELF = "store-1.eu.acme.mesh" as ClusterName;
const PLACE = { self: SELF, workers: 1, seed: 5, zone: "a" };
const ANYWHERE = { visited: [], tried: [], within: undefined, foreign: false };

/** Ten local endpoints, at ports 1 to 10, and perhaps a sibling's gateway at port 20. */
function service(
  policy: object = {},
  change: { elsewhere?: boolean; weight?: number } = {},
): Service {
  const { elsewhere = false, weight = 1 } = change;
  const place = (kind: string, cluster: string, ports: readonly number[]) => ({
    ...{ kind, cluster, healthy: ports.length },
    endpoints: ports.map((port) => ({
      ...{ address: "127.0.0.1", port, weight },
      zone: port % 2 === 0 ? "a" : "b",
    })),
  });
  const locales = [place("local", SELF, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
  if (elsewhere) locales.push(place("sibling", "store-2.eu.acme.mesh", [20]));
  const check = { intervalMs: 1_000, timeoutMs: 500, unhealthyThreshold: 2, healthyThreshold: 2 };
  const services = [
    {
      ...{ name: "menu.shop", port: 80, appProtocol: "http", locales, policy },
      healthCheck: { ...check, tcp: {} },
    },
  ];
  const snapshot = { revision: "1", mesh: "acme.mesh", cluster: SELF, listeners: [], routes: [] };
  return must(parseSnapshot({ ...snapshot, services }, "test")).services[0]!;
}

function ports(balancer: ServiceBalancer, now: number, hash?: number): Set<number> {
  const rng = seededRng(2);
  const picks = Array.from({ length: 300 }, () => balancer.pick({ ...ANYWHERE, hash }, now, rng)!);
  return new Set(picks.map(({ endpoint }) => endpoint.port));
}

const at = (balancer: ServiceBalancer, port: number): EndpointState =>
  balancer.locales[0]!.endpoints.find(({ endpoint }) => endpoint.port === port)!;

function markUnhealthy(balancer: ServiceBalancer, count: number): void {
  for (let port = 1; port <= count; port++) {
    balancer.judge(`@127.0.0.1:${port}`, { healthy: false, reason: "timeout" }, 0);
  }
}

describe("a service with few well endpoints", () => {
  it("that is alone doubts the checks below its threshold", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    markUnhealthy(balancer, 5);
    assert.deepEqual([...ports(balancer, 0)].sort(), [10, 6, 7, 8, 9]);
    assert.equal(balancer.locales[0]!.panics, false);
    markUnhealthy(balancer, 6);
    assert.equal(ports(balancer, 0).size, 10);
    assert.equal(balancer.locales[0]!.panics, true);
  });

  it("that another place can help leaves those alone that are out", () => {
    const balancer = new ServiceBalancer(service({}, { elsewhere: true }), PLACE, 0);
    markUnhealthy(balancer, 8);
    const used = ports(balancer, 0);
    for (let port = 1; port <= 8; port++) assert.equal(used.has(port), false);
    balancer.linkRtt("store-2.eu.acme.mesh" as ClusterName, undefined, 0);
    assert.equal(ports(balancer, 0).has(1), true, "the other one is gone");
  });

  it("never doubts them if its policy says so", () => {
    const balancer = new ServiceBalancer(service({ balance: { panicShare: 0 } }), PLACE, 0);
    markUnhealthy(balancer, 9);
    assert.deepEqual([...ports(balancer, 0)], [10]);
  });
});

describe("a service's policy", () => {
  it("says how endpoints are chosen, and its key leads to one of them", () => {
    const sticky = new ServiceBalancer(service({ balance: { algorithm: "Maglev" } }), PLACE, 0);
    assert.equal(ports(sticky, 0, 77).size, 1);
    assert.ok(ports(sticky, 0).size > 5, "without a key anywhere");
    const few = new ServiceBalancer(service({ balance: { subsetSize: 3 } }), PLACE, 0);
    assert.equal(ports(few, 0).size, 3);
    const near = new ServiceBalancer(service({ balance: { zoneAware: true } }), PLACE, 0);
    const rng = seededRng(1);
    let own = 0;
    for (let i = 0; i < 500; i++) {
      if (near.pick(ANYWHERE, 0, rng)!.endpoint.zone === "a") own++;
    }
    assert.ok(own > 470, `${own}`);
  });

  it("says when failures eject", () => {
    const policy = { outliers: { consecutiveFailures: 2, ejectionMs: 60_000 } };
    const balancer = new ServiceBalancer(service(policy), { ...PLACE, seed: 0 }, 0);
    const one = at(balancer, 1);
    for (let i = 0; i < 2; i++) {
      balancer.started(one, 0);
      balancer.finished(one, "failed", 1, 0);
    }
    assert.equal(one.isEjected(40_000), true);
  });
});

describe("an endpoint whose weight changes", () => {
  it("keeps its ejection, its reports and its slow start, for only its share has changed", () => {
    const first = new ServiceBalancer(service(), PLACE, 0);
    const one = at(first, 1);
    for (let i = 0; i < 5; i++) {
      first.started(one, 0);
      first.finished(one, "failed", 1, 0);
    }
    one.report({ utilization: 0.5, rps: 10, eps: 0, stalenessMs: 100 }, 0);
    const second = new ServiceBalancer(service({}, { weight: 2 }), PLACE, 100, first);
    const same = at(second, 1);
    assert.equal(same.endpoint.weight, 2);
    assert.equal(same.isEjected(100), true);
    assert.equal(same.reported?.stalenessMs(100), 200);
    assert.equal(same.warmFrom, one.warmFrom);
  });
});
