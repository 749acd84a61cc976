import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot, type Service } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { explainLocales } from "#proxy/balance/explain_locales.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { must } from "#test/kit/mesh.ts";

const SELF = "store-1.eu.acme.mesh" as ClusterName;
const PLACE = { self: SELF, workers: 1 };
const ANYWHERE = { visited: [], tried: [], within: undefined, foreign: false };
const CHECK = {
  ...{ intervalMs: 1_000, timeoutMs: 1_000, unhealthyThreshold: 2, healthyThreshold: 2 },
  tcp: {},
};

/** Local endpoints by port, and perhaps one elsewhere at port 10. */
function service(
  ports: readonly number[],
  change: { elsewhere?: boolean; healthCheck?: object | undefined; weight?: number } = {},
): Service {
  const { elsewhere = false, weight = 1 } = change;
  const healthCheck = "healthCheck" in change ? change.healthCheck : CHECK;
  const place = (kind: string, cluster: string, some: readonly number[]) => ({
    kind,
    cluster,
    endpoints: some.map((port) => ({ address: "127.0.0.1", port, weight })),
    healthy: some.length,
    capacity: 10 * some.length,
  });
  const locales = [place("local", SELF, ports)];
  if (elsewhere) locales.push(place("sibling", "store-2.eu.acme.mesh", [10]));
  const base = { name: "menu.shop", port: 80, appProtocol: "http", locales };
  const services = [healthCheck === undefined ? base : { ...base, healthCheck }];
  const snapshot = { revision: "1", mesh: "acme.mesh", cluster: SELF, listeners: [], routes: [] };
  return must(parseSnapshot({ ...snapshot, services }, "test")).services[0]!;
}

const state = (balancer: ServiceBalancer, port: number): EndpointState =>
  balancer.locales[0]!.endpoints.find(({ endpoint }) => endpoint.port === port)!;

function judge(balancer: ServiceBalancer, port: number, healthy: boolean, now = 0): void {
  balancer.judge(`@127.0.0.1:${port}`, { healthy, reason: healthy ? "HTTP 200" : "timeout" }, now);
}

function eject(balancer: ServiceBalancer, port: number, now = 0): void {
  const endpoint = state(balancer, port);
  for (let i = 0; i < 5; i++) {
    balancer.started(endpoint, now);
    balancer.finished(endpoint, "failed", 1, now);
  }
  assert.ok(endpoint.isEjected(now));
}

/** Ports that get requests. */
function used(balancer: ServiceBalancer, now = 0): number[] {
  const rng = seededRng(1);
  const ports = new Set<number>();
  for (let i = 0; i < 200; i++) ports.add(balancer.pick(ANYWHERE, now, rng)?.endpoint.port ?? 0);
  return [...ports].sort((a, b) => a - b);
}

describe("active checks and passive ejection together", () => {
  // As docs/operating.md has it: what an endpoint gets while another one, at port 2, is well.
  for (const [check, requests, takes] of [
    ["unknown", "well", true],
    ["unknown", "ejected", false],
    ["healthy", "well", true],
    ["healthy", "ejected", false],
    ["unhealthy", "well", false],
    ["unhealthy", "ejected", false],
  ] as const) {
    for (const order of ["check first", "requests first"]) {
      it(`check ${check}, requests ${requests}, ${order}: ${takes ? "takes" : "takes no"} traffic`, () => {
        const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
        const acts = [
          () => {
            if (check !== "unknown") judge(balancer, 1, check === "healthy");
          },
          () => {
            if (requests === "ejected") eject(balancer, 1);
          },
        ];
        if (order === "requests first") acts.reverse();
        for (const act of acts) act();
        assert.deepEqual(used(balancer), takes ? [1, 2] : [2]);
        assert.equal(balancer.localHealth(0).healthy, takes ? 2 : 1);
        balancer.bringUpToDate(0);
        assert.equal(balancer.bearsOf(balancer.locales[0]!), takes ? 20 : 10);
      });
    }
  }

  it("a check that goes well does not end an ejection, nor does the end of one undo a check", () => {
    const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
    eject(balancer, 1);
    judge(balancer, 1, true);
    assert.deepEqual(used(balancer), [2]);
    assert.deepEqual(used(balancer, 1_001), [1, 2], "its second is over");
    judge(balancer, 1, false, 1_001);
    eject(balancer, 1, 1_001);
    assert.deepEqual(used(balancer, 60_000), [2]);
    judge(balancer, 1, true, 60_000);
    assert.deepEqual(used(balancer, 60_000), [1, 2]);
  });

  it("a request that goes well does not undo a check", () => {
    const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
    const one = state(balancer, 1);
    balancer.started(one, 0);
    judge(balancer, 1, false);
    balancer.finished(one, "ok", 5, 5);
    assert.deepEqual(used(balancer, 5), [2]);
  });

  it("when all are out, for whichever reason, traffic goes elsewhere at once", () => {
    const balancer = new ServiceBalancer(service([1, 2], { elsewhere: true }), PLACE, 0);
    const [local] = balancer.locales;
    assert.ok(local!.weight > 0.9);
    judge(balancer, 1, false);
    assert.equal(balancer.isUsable(local!, 0), true);
    eject(balancer, 2);
    assert.equal(balancer.isUsable(local!, 0), false);
    assert.deepEqual(used(balancer), [10]);
    assert.equal(local!.weight, 0);
    assert.equal(balancer.localHealth(0).healthy, 0);
    judge(balancer, 1, true);
    assert.equal(balancer.isUsable(local!, 0), true);
  });

  it("when all are out and there is nowhere else, all of them are used", () => {
    const balancer = new ServiceBalancer(service([1, 2, 3]), PLACE, 0);
    judge(balancer, 1, false);
    judge(balancer, 2, false);
    eject(balancer, 3);
    assert.deepEqual(used(balancer), [1, 2, 3]);
  });

  it("a session leaves an endpoint that a check calls unhealthy", () => {
    const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
    const session = state(balancer, 1).sessionKey;
    const pick = () => balancer.pick({ ...ANYWHERE, session }, 0, seededRng(1))?.endpoint.port;
    assert.equal(pick(), 1);
    judge(balancer, 1, false);
    assert.equal(pick(), 2);
  });

  it("how slow it was before it went is forgotten when it comes back", () => {
    const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
    const one = state(balancer, 1);
    balancer.started(one, 0);
    balancer.finished(one, "ok", 5_000, 0);
    judge(balancer, 1, false);
    assert.equal(one.ewma.read(0), 5_000);
    judge(balancer, 1, true);
    assert.ok(one.ewma.read(0) < 1);
  });
});

describe("a verdict", () => {
  it("outlives snapshots, also one that changes the endpoint's weight", () => {
    const first = new ServiceBalancer(service([1, 2]), PLACE, 0);
    judge(first, 1, false);
    const second = new ServiceBalancer(service([1, 2, 3]), PLACE, 0, first);
    assert.deepEqual(used(second), [2, 3]);
    const third = new ServiceBalancer(service([1, 2], { weight: 2 }), PLACE, 0, second);
    assert.deepEqual(used(third), [2]);
    judge(third, 1, true);
    assert.deepEqual(used(third), [1, 2]);
  });

  it("goes with the health check", () => {
    const first = new ServiceBalancer(service([1, 2]), PLACE, 0);
    judge(first, 1, false);
    const without = new ServiceBalancer(
      service([1, 2], { healthCheck: undefined }),
      PLACE,
      0,
      first,
    );
    assert.deepEqual(used(without), [1, 2]);
    judge(without, 1, false);
    assert.deepEqual(used(without), [1, 2], "one that comes late changes nothing");
  });

  it("is for endpoints of this cluster alone", () => {
    const balancer = new ServiceBalancer(service([1], { elsewhere: true }), PLACE, 0);
    judge(balancer, 10, false);
    assert.equal(balancer.locales[1]!.endpoints[0]!.isUnhealthy, false);
  });

  it("is explained", () => {
    const balancer = new ServiceBalancer(service([1, 2]), PLACE, 0);
    const explained = () => {
      const { endpoints, ejected, unhealthy, reason } = explainLocales(balancer, ANYWHERE, 0)[0]!;
      return [endpoints, ejected, unhealthy, reason];
    };
    judge(balancer, 1, false);
    assert.deepEqual(explained(), [2, 0, 1, "takes traffic"]);
    eject(balancer, 2);
    assert.deepEqual(explained(), [2, 1, 1, "all endpoints ejected or unhealthy (check)"]);
    judge(balancer, 2, false);
    assert.deepEqual(explained(), [2, 1, 2, "all endpoints unhealthy (check)"]);
  });
});
