import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import type { Priority, RateLimit } from "#model/traffic_policy.ts";
import { Admission, type AdmissionRules } from "#proxy/admit/admission.ts";
import { buildTables, reportOf } from "#proxy/app/tables.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";
import { SimExchange } from "#test/sim/exchange.ts";

const LIMIT: RateLimit = { name: "writes", scope: "Local", rate: 1, burst: 2 };

function from(address: string, fields: string[] = []): Exchange {
  const head = {
    ...{ method: "GET", target: "/", authority: "a", fields, body: 0 },
    ...{ upgrade: undefined, takesTrailers: false },
  };
  const peer = anonymous(address);
  return new SimExchange(head, { peer, listener: "http" }, { answer: () => {}, abort: () => {} });
}

function ask(priority: Priority = "default", path: readonly string[] = []) {
  return { priority, hop: { ...FIRST_HOP, path: path as ClusterName[] } };
}

function admission(rules: AdmissionRules, workers = 1): Admission {
  const made = new Admission();
  made.follow(rules, workers, 0);
  return made;
}

const A = from("10.0.0.1");
const B = from("10.0.0.2");

describe("Admission", () => {
  it("takes everything where there are no rules", () => {
    const gate = admission({});
    for (let i = 0; i < 1_000; i++) assert.equal(gate.admit(ask(), A, 0), undefined);
    assert.equal(gate.inflight, 1_000);
  });

  it("says which rate limit is met, and when a request may come again", () => {
    const gate = admission({ rateLimits: [LIMIT] });
    gate.admit(ask(), A, 0);
    gate.admit(ask(), A, 0);
    const refusal = gate.admit(ask(), B, 250);
    assert.equal(refusal?.kind, "rate_limited");
    assert.equal(refusal.retryAfterMs, 750);
    assert.equal(refusal.limit?.name, "writes");
    assert.equal(gate.inflight, 2);
    assert.deepEqual(gate.refused.get("rate_limited"), { critical: 0, default: 1, sheddable: 0 });
    assert.equal(gate.buckets[0]?.refused, 1);
  });

  it("tells how many it turns away, for those who divide limits", () => {
    const gate = admission({ rateLimits: [LIMIT] });
    for (let ms = 0; ms < 20_000; ms += 10) {
      gate.admit(ask(), A, ms);
      if (ms % 500 === 0) gate.turnedAwayPerSecond(ms);
    }
    const over = gate.turnedAwayPerSecond(20_000);
    assert.ok(over > 97 && over < 101, `${over}`);
    for (let ms = 20_500; ms < 40_000; ms += 500) gate.turnedAwayPerSecond(ms);
    assert.ok(gate.turnedAwayPerSecond(40_000) < 0.1);
  });

  it("counts what it turns away among a service's arrivals", () => {
    const snapshot = simpleSnapshot([1]);
    const policy = { rateLimits: [LIMIT] };
    const services = snapshot.services.map((one) => ({ ...one, policy }));
    const tables = buildTables({ ...snapshot, services }, undefined, new RequestStats(), 0);
    const [service] = tables.services.values();
    for (let ms = 0; ms < 10_000; ms += 10) service!.admission.admit(ask(), A, ms);
    const { arrivals = 0 } = reportOf(service!, 10_000);
    assert.ok(arrivals > 95 && arrivals < 101, `${arrivals}`);
  });

  it("counts each client for itself, and those without a key as one", () => {
    const gate = admission({ rateLimits: [{ ...LIMIT, by: { type: "Header", name: "key" } }] });
    const passed = (fields: string[]) =>
      Array.from({ length: 5 }, () => gate.admit(ask(), from("10.0.0.1", fields), 0)).filter(
        (refusal) => refusal === undefined,
      ).length;
    assert.equal(passed(["key", "one"]), 2);
    assert.equal(passed(["key", "two"]), 2);
    assert.equal(passed([]), 2);
    assert.equal(passed(["other", "x"]), 0);
  });

  it("uses nothing up of one limit where another refuses, or where there is no room", () => {
    const gate = admission({
      limits: { requests: 1 },
      rateLimits: [LIMIT, { ...LIMIT, name: "few", burst: 1 }],
    });
    assert.equal(gate.admit(ask(), A, 0), undefined);
    for (let i = 0; i < 5; i++) assert.equal(gate.admit(ask(), A, 0)?.kind, "rate_limited");
    for (let i = 0; i < 5; i++) assert.equal(gate.admit(ask(), A, 1_000)?.kind, "shed");
    gate.release(ask(), A);
    assert.equal(gate.admit(ask(), A, 1_000), undefined);
  });

  it("does not count again what another cluster of the mesh has counted, but keeps its bulkhead", () => {
    const gate = admission({ limits: { requests: 20 }, rateLimits: [LIMIT] });
    const came = ask("default", ["eu.acme.mesh"]);
    for (let i = 0; i < 20; i++) assert.equal(gate.admit(came, A, 0), undefined);
    assert.equal(gate.admit(came, A, 0)?.kind, "shed");
  });

  it("has a part of the bulkhead per worker, and room for critical requests in it", () => {
    const gate = admission({ limits: { requests: 40 } }, 2);
    const taken = (priority: Priority) => {
      let count = 0;
      while (gate.admit(ask(priority), A, 0) === undefined) count++;
      return count;
    };
    assert.equal(gate.admit(ask("critical"), A, 0), undefined);
    const counts = [taken("sheddable"), taken("default"), taken("critical")];
    assert.ok(
      counts.every((count) => count > 0),
      `${counts}`,
    );
    assert.ok(gate.inflight >= 20 && gate.inflight <= 25, `${gate.inflight}`);
    assert.equal(admission({ limits: { requests: 3 } }, 16).admit(ask(), A, 0), undefined);
  });

  it("holds one caller to its own part", () => {
    const gate = admission({ limits: { requestsPerCaller: 2 } });
    assert.equal(gate.admit(ask(), A, 0), undefined);
    assert.equal(gate.admit(ask(), A, 0), undefined);
    assert.equal(gate.admit(ask(), A, 0)?.kind, "shed");
    assert.equal(gate.admit(ask(), B, 0), undefined);
    gate.release(ask(), A);
    assert.equal(gate.admit(ask(), A, 0), undefined);
  });

  it("is right about callers again when their limit comes and goes while requests run", () => {
    const gate = admission({});
    for (let i = 0; i < 3; i++) gate.admit(ask(), A, 0);
    gate.follow({ limits: { requestsPerCaller: 1 } }, 1, 0);
    gate.admit(ask(), A, 0);
    gate.follow({}, 1, 0);
    for (let i = 0; i < 4; i++) gate.release(ask(), A);
    gate.follow({ limits: { requestsPerCaller: 1 } }, 1, 0);
    assert.equal(gate.inflight, 0);
    assert.equal(gate.admit(ask(), A, 0), undefined);
    assert.equal(gate.admit(ask(), A, 0)?.kind, "shed");
  });

  it("keeps what was used of a limit when a snapshot comes", () => {
    const gate = admission({ rateLimits: [LIMIT] });
    gate.admit(ask(), A, 0);
    gate.admit(ask(), A, 0);
    gate.follow({ rateLimits: [{ ...LIMIT, name: "new", burst: 9 }, LIMIT] }, 1, 0);
    assert.equal(gate.admit(ask(), A, 0)?.limit?.name, "writes");
  });
});
