import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot, type Service } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { must } from "#test/kit/mesh.ts";

const SELF = "store-1.eu.acme.mesh" as ClusterName;
const PLACE = { self: SELF, workers: 1 };

function service(change: Partial<Service> = {}): Service {
  const place = (kind: string, cluster: string, ports: number[]) => ({
    kind,
    cluster,
    endpoints: ports.map((port) => ({ address: "127.0.0.1", port })),
    healthy: 2,
  });
  const snapshot = must(
    parseSnapshot(
      {
        revision: "1",
        mesh: "acme.mesh",
        cluster: SELF,
        listeners: [],
        routes: [],
        services: [
          {
            name: "menu.shop",
            port: 80,
            appProtocol: "http",
            locales: [
              place("local", SELF, [1, 2, 3]),
              place("sibling", "store-2.eu.acme.mesh", [10]),
              place("parent", "eu.acme.mesh", [20]),
            ],
          },
        ],
      },
      "test",
    ),
  );
  return { ...snapshot.services[0]!, ...change };
}

const anywhere: PickConstraint = { visited: [], tried: [], within: undefined, foreign: false };

/** Runs requests for `ms`, each of which `answer` decides. Counts by port. */
function drive(
  balancer: ServiceBalancer,
  from: number,
  ms: number,
  answer: (port: number) => { ok: boolean; latencyMs: number },
  constraint: PickConstraint = anywhere,
): Map<number, number> {
  const rng = seededRng(3);
  const counts = new Map<number, number>();
  for (let now = from; now < from + ms; now += 10) {
    const endpoint = balancer.pick(constraint, now, rng);
    if (endpoint === undefined) continue;
    const { port } = endpoint.endpoint;
    counts.set(port, (counts.get(port) ?? 0) + 1);
    balancer.started(endpoint, now);
    const { ok, latencyMs } = answer(port);
    balancer.finished(endpoint, ok ? "ok" : "failed", latencyMs, now + latencyMs);
  }
  return counts;
}

const fast = () => ({ ok: true, latencyMs: 2 });
const share = (counts: Map<number, number>, ports: readonly number[]): number => {
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  return ports.reduce((sum, port) => sum + (counts.get(port) ?? 0), 0) / total;
};

describe("service balancer", () => {
  it("stays at home while home is well, and uses all of it", () => {
    const counts = drive(new ServiceBalancer(service(), PLACE, 0), 0, 10_000, fast);
    assert.equal(share(counts, [1, 2, 3]), 1);
    for (const port of [1, 2, 3])
      assert.ok(counts.get(port)! > 150, `${port}: ${counts.get(port)}`);
  });

  it("turns away from a slow endpoint", () => {
    const counts = drive(new ServiceBalancer(service(), PLACE, 0), 0, 10_000, (port) => ({
      ok: true,
      latencyMs: port === 1 ? 300 : 2,
    }));
    assert.ok(share(counts, [1]) < 0.1, String(share(counts, [1])));
  });

  it("leaves when every local endpoint fails, and comes back when they are well", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const dead = drive(balancer, 0, 20_000, (port) => ({ ok: port >= 10, latencyMs: 5 }));
    assert.ok(share(dead, [1, 2, 3]) < 0.1, String(share(dead, [1, 2, 3])));
    drive(balancer, 20_000, 15_000, fast);
    const well = drive(balancer, 35_000, 5_000, fast);
    assert.equal(share(well, [1, 2, 3]), 1);
  });

  it("comes back as soon when many requests were running as everything died", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    drive(balancer, 0, 5_000, fast);
    // Forty at each local endpoint, all failing at once: most of them after it has been ejected.
    const rng = seededRng(1);
    const running = Array.from({ length: 120 }, () => balancer.pick(anywhere, 5_000, rng)!);
    for (const endpoint of running) balancer.started(endpoint, 5_000);
    for (const endpoint of running) balancer.finished(endpoint, "failed", 1, 5_010);
    drive(balancer, 5_020, 1_000, fast);
    const counts = drive(balancer, 12_000, 1_000, fast);
    assert.ok(share(counts, [1, 2, 3]) > 0.9, JSON.stringify([...counts]));
  });

  it("never goes back to a cluster that the request has passed", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const visited = ["eu.acme.mesh", "store-2.eu.acme.mesh"] as ClusterName[];
    const dead = drive(balancer, 0, 5_000, () => ({ ok: false, latencyMs: 1 }), {
      ...anywhere,
      visited,
    });
    assert.equal(share(dead, [1, 2, 3]), 1);
  });

  it("takes a link that is down out, and back in", () => {
    const remote = service({ locales: service().locales.slice(1) });
    const balancer = new ServiceBalancer(remote, PLACE, 0);
    balancer.linkRtt("eu.acme.mesh" as ClusterName, 2, 0);
    balancer.linkRtt("store-2.eu.acme.mesh" as ClusterName, 40, 0);
    assert.equal(share(drive(balancer, 2_000, 3_000, fast), [20]), 1);
    balancer.linkRtt("eu.acme.mesh" as ClusterName, undefined, 5_000);
    assert.equal(share(drive(balancer, 5_000, 3_000, fast), [20]), 0);
    balancer.linkRtt("eu.acme.mesh" as ClusterName, 2, 8_000);
    drive(balancer, 8_000, 3_000, fast);
    assert.equal(share(drive(balancer, 11_000, 2_000, fast), [20]), 1);
  });

  it("asks a retry elsewhere than where it failed", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const rng = seededRng(1);
    const tried: EndpointState[] = [];
    for (let i = 0; i < 5; i++) {
      const next = balancer.pick({ ...anywhere, tried }, 0, rng)!;
      assert.ok(!tried.includes(next));
      tried.push(next);
    }
    assert.ok(
      tried.includes(balancer.pick({ ...anywhere, tried }, 0, rng)!),
      "rather again than not",
    );
  });

  it("stays within the subtree that the address names", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const within = (name: string) => ({ ...anywhere, within: name as ClusterName });
    const rng = seededRng(1);
    const portOf = (constraint: PickConstraint): number | undefined =>
      balancer.pick(constraint, 0, rng)?.endpoint.port;
    assert.equal(portOf(within("store-2.eu.acme.mesh")), 10);
    assert.equal(portOf(within("us.acme.mesh")), 20);
    assert.ok([1, 2, 3].includes(portOf(within("store-1.eu.acme.mesh"))!));
  });

  it("does not serve other clusters from a service that is not exported", () => {
    const balancer = new ServiceBalancer(service({ exported: false }), PLACE, 0);
    const foreign = { ...anywhere, foreign: true };
    const counts = drive(balancer, 0, 2_000, fast, foreign);
    assert.equal(share(counts, [1, 2, 3]), 0);
  });

  it("keeps what it has learnt across snapshots", () => {
    const before = new ServiceBalancer(service(), PLACE, 0);
    drive(before, 0, 5_000, (port) => ({ ok: true, latencyMs: port === 1 ? 400 : 2 }));
    const after = new ServiceBalancer(service({ port: 81 }), PLACE, 5_000, before);
    const counts = drive(after, 5_000, 1_000, fast);
    assert.ok(share(counts, [1]) < 0.1);
  });

  it("compares each endpoint and each locale with the one before it, not with all", () => {
    let compared = 0;
    const counted = (port: number) => ({
      weight: 1,
      port,
      get address() {
        compared++;
        return "127.0.0.1";
      },
    });
    const [local, sibling] = service().locales;
    const ports = Array.from({ length: 500 }, (_, i) => i + 1);
    const locales = Array.from({ length: 500 }, (_, i) => ({
      ...sibling!,
      get cluster() {
        compared++;
        return `store-${i}.eu.acme.mesh` as ClusterName;
      },
    }));
    const many = (): Service =>
      service({ locales: [{ ...local!, endpoints: ports.map(counted) }, ...locales] });
    const before = new ServiceBalancer(many(), PLACE, 0);
    compared = 0;
    const after = new ServiceBalancer(many(), PLACE, 1, before);
    assert.equal(after.locales[0]!.endpoints[499], before.locales[0]!.endpoints[499]);
    assert.equal(after.locales[500]!.endpoints[0], before.locales[500]!.endpoints[0]);
    assert.ok(compared < 10 * 1_000, `looked at ${compared} of 1,000`);
  });

  it("counts what is running across snapshots, wherever it ends", () => {
    const first = new ServiceBalancer(service(), PLACE, 0);
    const rng = seededRng(1);
    const running = Array.from({ length: 10 }, () => {
      const endpoint = first.pick(anywhere, 0, rng)!;
      first.started(endpoint, 0);
      return endpoint;
    });
    const second = new ServiceBalancer(service({ port: 81 }), PLACE, 1, first);
    const third = new ServiceBalancer(service({ port: 82 }), PLACE, 2, second);
    assert.equal(third.inflight, 10);
    assert.equal(third.locales[0]!.inflight, 10);
    for (const endpoint of running) first.finished(endpoint, "ok", 2, 3);
    assert.equal(third.inflight, 0);
    assert.equal(third.locales[0]!.inflight, 0);
  });

  it("spills beyond its capacity and sheds what nobody can bear", () => {
    const [local, sibling] = service().locales;
    const small = service({
      locales: [
        { ...local!, capacity: 2 },
        { ...sibling!, capacity: 2 },
      ],
    });
    const balancer = new ServiceBalancer(small, PLACE, 0);
    const rng = seededRng(1);
    let refused = 0;
    for (let i = 0; i < 200; i++) {
      const endpoint = balancer.pick(anywhere, i * 20, rng);
      if (endpoint === undefined) refused++;
      else balancer.started(endpoint, i * 20);
    }
    assert.ok(balancer.locales[1]!.inflight > 0, "the sibling takes what home cannot");
    assert.ok(refused > 20, `${refused} refused`);
  });

  it("explains itself", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const lines = explainLocales(balancer, anywhere, 0);
    assert.deepEqual(
      lines.map(({ kind, weight, reason }) => [kind, weight, reason]),
      [
        ["local", 1, "takes traffic"],
        ["sibling", 0, "dearer by 19.5 ms"],
        ["parent", 0, "dearer by 19.5 ms"],
      ],
    );
  });

  it("explains what the next request will find, though none has come since an ejection ended", () => {
    const [local] = service().locales;
    const balancer = new ServiceBalancer(service({ locales: [local!] }), PLACE, 0);
    drive(balancer, 0, 1_000, () => ({ ok: false, latencyMs: 2 }));
    const told = (now: number) => {
      const [{ weight, ejected, reason }] = explainLocales(balancer, anywhere, now) as [
        LocaleExplanation,
      ];
      return [weight, ejected, reason];
    };
    assert.deepEqual(told(1_000), [0, 3, "all endpoints ejected"]);
    assert.deepEqual(told(60_000), [1, 0, "takes traffic"]);
  });

  it("goes home soon after failures that were too few to eject anybody", () => {
    const balancer = new ServiceBalancer(service(), PLACE, 0);
    const well = (port: number) => ({ ok: true, latencyMs: port < 10 ? 2 : 8 });
    drive(balancer, 0, 3_000, well);
    // Each local endpoint fails once less than ejects it: that is usual now, and nobody sends anything there any more.
    const [local] = balancer.locales;
    for (const endpoint of local!.endpoints) {
      for (let i = 0; i < 4; i++) {
        balancer.started(endpoint, 3_000);
        balancer.finished(endpoint, "failed", 1, 3_001);
      }
    }
    const away = drive(balancer, 5_000, 1_000, well);
    assert.equal(
      [1, 2, 3].reduce((sum, port) => sum + (away.get(port) ?? 0), 0),
      0,
    );
    drive(balancer, 6_000, 4_000, well);
    const home = drive(balancer, 10_000, 1_000, well);
    assert.ok([1, 2, 3].reduce((sum, port) => sum + (home.get(port) ?? 0), 0) >= 95);
  });

  it("says why nobody is left", () => {
    const [local, sibling] = service().locales;
    const balancer = new ServiceBalancer(service({ locales: [sibling!] }), PLACE, 0);
    const been = { ...anywhere, visited: [sibling!.cluster] };
    assert.equal(balancer.pick(been, 0, seededRng(1)), undefined);
    assert.equal(balancer.whyNot(been, 0), "no_candidate");
    const secret = service({ locales: [local!], exported: false });
    const hidden = new ServiceBalancer(secret, PLACE, 0);
    assert.equal(hidden.whyNot({ ...anywhere, foreign: true }, 0), "no_candidate");
  });
});
