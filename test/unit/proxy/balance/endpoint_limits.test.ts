import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot, type Service } from "#model/snapshot.ts";
import { ALGORITHMS } from "#model/traffic_policy.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { must } from "#test/kit/mesh.ts";

const SELF = "store-1.eu.acme.mesh" as ClusterName;
const PLACE = { self: SELF, workers: 1, seed: 5 };
const ANYWHERE = { visited: [], tried: [], within: undefined, foreign: false };

/** Local endpoints at ports 1, 2 and so on. */
function service(policy: object, count: number): Service {
  const endpoints = Array.from({ length: count }, (_, i) => ({
    ...{ address: "127.0.0.1", port: i + 1 },
  }));
  const locales = [{ kind: "local", cluster: SELF, healthy: count, endpoints }];
  const services = [{ name: "menu.shop", port: 80, appProtocol: "http", locales, policy }];
  const snapshot = { revision: "1", mesh: "acme.mesh", cluster: SELF, listeners: [], routes: [] };
  return must(parseSnapshot({ ...snapshot, services }, "test")).services[0]!;
}

function balancerOf(policy: object, count = 10): ServiceBalancer {
  return new ServiceBalancer(service(policy, count), PLACE, 0);
}

/** It has shown to bear `limit`, and so many wait for it. */
function load(endpoint: EndpointState, limit: number, waiting: number): void {
  endpoint.learn(5, 1, false, 0);
  endpoint.learnt!.limit = limit;
  endpoint.waiting = waiting;
}

function picked(balancer: ServiceBalancer, hash?: (i: number) => number): Set<EndpointState> {
  const rng = seededRng(2);
  const pick = (i: number): EndpointState =>
    balancer.pick({ ...ANYWHERE, hash: hash?.(i) }, 0, rng)!;
  return new Set(Array.from({ length: 400 }, (_, i) => pick(i)));
}

/**
 * Most requests that ran at a slow one of ten in the end, all in turns: first half of what it can serve comes, then
 * twice that for 10 s.
 */
function mostAtSlowOne(policy: object): number {
  const clock = new VirtualClock();
  const rng = seededRng(3);
  const balancer = balancerOf({ balance: { algorithm: "RoundRobin" }, ...policy });
  const [slow] = balancer.locales[0]!.endpoints;
  let freeAt = 0;
  let most = 0;
  const send = (): void => {
    const now = clock.now();
    const endpoint = balancer.pick(ANYWHERE, now, rng)!;
    balancer.started(endpoint, now);
    const workMs = 5 + 10 * rng.next();
    if (endpoint === slow) {
      freeAt = Math.max(freeAt, now) + workMs;
      if (now > 15_000) most = Math.max(most, slow.inflight);
    }
    const ms = endpoint === slow ? freeAt - now : workMs;
    clock.after(ms, () => balancer.finished(endpoint, "ok", ms, clock.now()));
  };
  for (const gapMs of [2, 0.5]) {
    for (let at = 0; at < 10_000; at += gapMs) {
      send();
      clock.advance(gapMs);
    }
  }
  return most;
}

describe("what one endpoint of a locale bears", () => {
  it("is learnt, so that a slow one of many is not drowned", () => {
    const most = mostAtSlowOne({});
    assert.ok(most < 10, `${most} ran at once where one is served at a time`);
    const unlimited = mostAtSlowOne({ limits: { adaptive: false } });
    assert.ok(unlimited > 200, `${unlimited}: nothing would have drowned it`);
  });

  for (const algorithm of ALGORITHMS) {
    it(`passes it over while another one has room (${algorithm})`, () => {
      const balancer = balancerOf({ balance: { algorithm } });
      const { endpoints } = balancer.locales[0]!;
      for (const endpoint of endpoints.slice(0, 8)) load(endpoint, 4, 5);
      const key = (i: number): number => i * 10_000_019;
      assert.deepEqual(picked(balancer, key), new Set(endpoints.slice(8)));
      for (const endpoint of endpoints) load(endpoint, 4, 5);
      assert.ok(picked(balancer, key).size > 8, "where nobody has room, all are as good");
    });
  }

  for (const algorithm of ["RingHash", "Maglev"]) {
    it(`moves keys only where it is clearly exceeded, and no others (${algorithm})`, () => {
      const balancer = balancerOf({ balance: { algorithm } });
      const rng = seededRng(1);
      const owners = (): EndpointState[] =>
        Array.from({ length: 300 }, (_, key) => {
          return balancer.pick({ ...ANYWHERE, hash: key * 10_000_019 }, 0, rng)!;
        });
      const before = owners();
      const [hot] = before;
      load(hot!, 8, 9);
      assert.deepEqual(owners(), before, "an eighth too much");
      load(hot!, 8, 10);
      const after = owners();
      before.forEach((owner, key) => {
        if (owner === hot) assert.notEqual(after[key], hot, `key ${key}`);
        else assert.equal(after[key], owner, `key ${key}`);
      });
      assert.deepEqual(owners(), after, "they stay there");
    });
  }

  it("keeps connections to a subset, though all in it are busy", () => {
    const balancer = balancerOf({ balance: { subsetSize: 3 } });
    const some = picked(balancer);
    for (const endpoint of some) load(endpoint, 4, 5);
    assert.deepEqual(picked(balancer), some);
  });

  it("is forgotten when a policy turns it off, and not learnt for a single one", () => {
    const balancer = balancerOf({});
    const [one] = balancer.locales[0]!.endpoints;
    const answer = (by: ServiceBalancer): void => {
      const [first] = by.locales[0]!.endpoints;
      by.started(first!, 0);
      by.finished(first!, "ok", 5, 0);
    };
    answer(balancer);
    assert.notEqual(one!.learnt, undefined);
    const next = new ServiceBalancer(
      ...([service({ limits: { adaptive: false } }, 10), PLACE, 0, balancer] as const),
    );
    assert.equal(next.locales[0]!.endpoints[0], one);
    answer(next);
    assert.equal(one!.learnt, undefined);
    const single = balancerOf({}, 1);
    answer(single);
    assert.equal(single.locales[0]!.endpoints[0]!.learnt, undefined);
  });
});
