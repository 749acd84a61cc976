import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { explainLocales } from "#proxy/balance/explain_locales.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import { ServiceBalancer } from "#proxy/balance/service_balancer.ts";
import { HERE, localeAt, treeService } from "#test/kit/tree_service.ts";

const PLACE = { self: HERE, workers: 1 };
const ANYWHERE: PickConstraint = { visited: [], tried: [], within: undefined, foreign: false };
const named = (name: string) => name as ClusterName;
const STORE_1 = named("store-1.eu.acme.mesh");
const US = named("us.acme.mesh");

/** Local at port 1, two stores at 11 and 12, another region at 20, the core at 30; costs rise with the port. */
function tree(change: object = {}, of: Record<number, object> = {}) {
  const at = (kind: Parameters<typeof localeAt>[0], cluster: string, port: number) =>
    localeAt(kind, cluster, [port], { p50Ms: 10 * port, ...of[port] });
  return treeService(
    [
      at("local", HERE, 1),
      at("child", STORE_1, 11),
      at("child", "store-2.eu.acme.mesh", 12),
      at("sibling", US, 20),
      at("parent", "core.acme.mesh", 30),
    ],
    change,
  );
}

const places = (of: object) => ({ policy: { places: of } });

/** How many of 1,000 requests each port gets, and what they are told of the subtree, by port. */
function drawn(balancer: ServiceBalancer, constraint = ANYWHERE, now = 0) {
  const rng = seededRng(1);
  const counts: Record<number, number> = {};
  const within: Record<number, string | undefined> = {};
  for (let i = 0; i < 1_000; i++) {
    const port = balancer.pick(constraint, now, rng)?.endpoint.port ?? 0;
    counts[port] = (counts[port] ?? 0) + 1;
    within[port] = balancer.pickedWithin;
  }
  return { counts, within };
}

function fill(balancer: ServiceBalancer, port: number, requests: number): void {
  const endpoint = endpointAt(balancer, port);
  for (let i = 0; i < requests; i++) balancer.started(endpoint, 0);
}

function endpointAt(balancer: ServiceBalancer, port: number): EndpointState {
  const all = balancer.locales.flatMap(({ endpoints }) => endpoints);
  return all.find(({ endpoint }) => endpoint.port === port)!;
}

const reasons = (
  balancer: ServiceBalancer,
  constraint = ANYWHERE,
  now = 0,
): Record<string, string> =>
  Object.fromEntries(
    explainLocales(balancer, constraint, now).map(({ cluster, reason }) => [cluster, reason]),
  );

describe("a pin", () => {
  it("takes all new requests at once while its cluster can serve, and tells the way on", () => {
    const before = new ServiceBalancer(tree(), PLACE, 0);
    assert.deepEqual(drawn(before).counts, { 1: 1_000 });
    const pinned = new ServiceBalancer(tree(places({ pin: US })), PLACE, 10, before);
    const { counts, within } = drawn(pinned, ANYWHERE, 10);
    assert.deepEqual(counts, { 20: 1_000 });
    assert.equal(within[20], US);
    assert.equal(reasons(pinned)[HERE], "not pinned");
  });

  it("goes through the parent where nobody nearer leads there, and by the next way without it", () => {
    const pinned = new ServiceBalancer(tree(places({ pin: "ap.acme.mesh" })), PLACE, 0);
    assert.deepEqual(drawn(pinned), {
      counts: { 30: 1_000 },
      within: { 30: "ap.acme.mesh" },
    });
    pinned.linkRtt(named("core.acme.mesh"), undefined, 1);
    assert.deepEqual(drawn(pinned, ANYWHERE, 1), {
      counts: { 1: 1_000 },
      within: { 1: undefined },
    });
  });

  it("says nothing to a request whose address names a subtree", () => {
    const pinned = new ServiceBalancer(tree(places({ pin: US })), PLACE, 0);
    const { counts, within } = drawn(pinned, { ...ANYWHERE, within: STORE_1 });
    assert.deepEqual([counts, within], [{ 11: 1_000 }, { 11: STORE_1 }]);
  });

  it("moves sessions too", () => {
    const pinned = new ServiceBalancer(tree(places({ pin: US })), PLACE, 0);
    const session = endpointAt(pinned, 1).sessionKey;
    assert.deepEqual(drawn(pinned, { ...ANYWHERE, session }).counts, { 20: 1_000 });
  });
});

describe("a split", () => {
  const split = places({
    split: [
      { cluster: HERE, weight: 3 },
      { cluster: US, weight: 1 },
    ],
  });

  it("keeps its shares, and each part goes to its cheapest place", () => {
    const { counts, within } = drawn(new ServiceBalancer(tree(split), PLACE, 0));
    assert.ok(Math.abs(counts[1]! - 750) < 50, JSON.stringify(counts));
    assert.equal(counts[1]! + counts[20]!, 1_000);
    assert.deepEqual(within, { 1: HERE, 20: US });
  });

  it("gives what a part cannot take to the other one, inside its subtree first", () => {
    const full = new ServiceBalancer(tree(split, { 1: { capacity: 1 } }), PLACE, 0);
    fill(full, 1, 1);
    const { counts } = drawn(full);
    assert.ok(Math.abs(counts[11]! - 750) < 60, JSON.stringify(counts));
    const down = new ServiceBalancer(tree(split), PLACE, 0);
    down.linkRtt(US, undefined, 1);
    // The parent leads there as well.
    assert.deepEqual(Object.keys(drawn(down, ANYWHERE, 1).counts), ["1", "30"]);
    down.linkRtt(named("core.acme.mesh"), undefined, 2);
    assert.deepEqual(drawn(down, ANYWHERE, 2).counts, { 1: 1_000 });
  });

  it("names who takes no part", () => {
    const balancer = new ServiceBalancer(
      tree(places({ split: [{ cluster: STORE_1, weight: 1 }] })),
      PLACE,
      0,
    );
    assert.equal(reasons(balancer)[HERE], "not in the split");
  });
});

describe("a fence", () => {
  it("lets nothing out, not even when everything inside has failed", () => {
    const fenced = new ServiceBalancer(tree(places({ mustStayIn: STORE_1 })), PLACE, 0);
    assert.deepEqual(drawn(fenced), { counts: { 11: 1_000 }, within: { 11: STORE_1 } });
    fenced.linkRtt(STORE_1, undefined, 1);
    const tried = [endpointAt(fenced, 11)];
    const rng = seededRng(1);
    assert.equal(fenced.pick({ ...ANYWHERE, tried }, 1, rng), tried[0]);
    const gone = new ServiceBalancer(
      treeService([localeAt("local", HERE, [1])], places({ mustStayIn: STORE_1 })),
      PLACE,
      0,
    );
    assert.equal(gone.pick(ANYWHERE, 0, rng), undefined);
    assert.equal(gone.whyNot(ANYWHERE, 0), "fenced");
    assert.equal(reasons(gone)[HERE], `outside the fence ${STORE_1}`);
  });

  it("leads through the parent only where it lies elsewhere", () => {
    const beyond = new ServiceBalancer(tree(places({ mustStayIn: "ap.acme.mesh" })), PLACE, 0);
    assert.deepEqual(drawn(beyond).counts, { 30: 1_000 });
    const inside = new ServiceBalancer(tree(places({ mustStayIn: HERE })), PLACE, 0);
    for (const name of [STORE_1, "store-2.eu.acme.mesh", "core.acme.mesh"] as ClusterName[]) {
      const isIn = inside.rules.refusal(
        inside.locales.findIndex(({ cluster }) => cluster === name),
        ANYWHERE,
      );
      assert.equal(isIn, name === "core.acme.mesh" ? "fence" : undefined);
    }
  });

  it("holds together with what an address names: the narrower, and nothing where both exclude each other", () => {
    const fenced = new ServiceBalancer(tree(places({ mustStayIn: HERE })), PLACE, 0);
    const narrower = drawn(fenced, { ...ANYWHERE, within: STORE_1 });
    assert.deepEqual(narrower, { counts: { 11: 1_000 }, within: { 11: STORE_1 } });
    const outside = { ...ANYWHERE, within: US };
    assert.deepEqual(drawn(fenced, outside).counts, { 0: 1_000 });
    assert.equal(fenced.whyNot(outside, 0), "fenced");
  });

  it("binds pins and splits", () => {
    const change = places({ mustStayIn: STORE_1, pin: US });
    assert.deepEqual(drawn(new ServiceBalancer(tree(change), PLACE, 0)).counts, { 11: 1_000 });
  });
});

describe("a drained place", () => {
  it("gets no new request from the snapshot on that says so, nor its sessions", () => {
    const before = new ServiceBalancer(tree(), PLACE, 0);
    const session = endpointAt(before, 1).sessionKey;
    const after = new ServiceBalancer(tree({}, { 1: { drained: true } }), PLACE, 10, before);
    assert.deepEqual(drawn(after, { ...ANYWHERE, session }, 10).counts, { 11: 1_000 });
    assert.equal(reasons(after)[HERE], "drained by an operator");
    const alone = treeService([localeAt("local", HERE, [1], { drained: true })]);
    const nobody = new ServiceBalancer(alone, PLACE, 0);
    assert.deepEqual(drawn(nobody).counts, { 0: 1_000 });
    assert.equal(nobody.whyNot(ANYWHERE, 0), "no_candidate");
  });
});

describe("a service with replicas", () => {
  const replication = { primary: US, epoch: 1, replicas: [HERE, US, STORE_1], maxStalenessMs: 500 };
  const need = (write: boolean, maxStalenessMs = 500) => ({
    ...ANYWHERE,
    data: { write, maxStalenessMs },
  });

  it("gets its writes to the primary alone", () => {
    const balancer = new ServiceBalancer(tree({ replication }), PLACE, 0);
    assert.deepEqual(drawn(balancer, need(true)).counts, { 20: 1_000 });
    assert.equal(reasons(balancer, need(true))[HERE], "not the primary");
    const without = tree({ replication: { ...replication, primary: "x.eu.acme.mesh" } });
    const nobody = new ServiceBalancer(without, PLACE, 0);
    assert.equal(nobody.pick(need(true), 0, seededRng(1)), undefined);
    assert.equal(nobody.whyNot(need(true), 0), "not_primary");
  });

  it("reads from the cheapest replica that is new enough, else from the primary", () => {
    const aged = { 1: { stalenessMs: 3_000 }, 11: { stalenessMs: 400 } };
    const balancer = new ServiceBalancer(tree({ replication }, aged), PLACE, 0);
    assert.deepEqual(drawn(balancer, need(false)).counts, { 11: 1_000 });
    assert.deepEqual(drawn(balancer, need(false, 5_000)).counts, { 1: 1_000 });
    assert.deepEqual(drawn(balancer, need(false, 0)).counts, { 20: 1_000 });
    const said = reasons(balancer, need(false));
    assert.equal(said[HERE], "replica too old (3 s)");
    assert.equal(said["store-2.eu.acme.mesh"], "replica of unknown age");
  });
});

describe("a full place", () => {
  it("takes no more than it bears, whatever the weights of the last period say", () => {
    const balancer = new ServiceBalancer(tree({}, { 1: { capacity: 2 } }), PLACE, 0);
    fill(balancer, 1, 2);
    assert.deepEqual(drawn(balancer).counts, { 11: 1_000 });
    assert.equal(reasons(balancer)[HERE], "full (2 of 2)");
  });

  it("bears the least of what it declares, grants and has shown, a worker its part of the first two", () => {
    const service = tree({}, { 11: { capacity: 90, grant: 12 }, 12: { capacity: 8, grant: 50 } });
    const balancer = new ServiceBalancer(service, { ...PLACE, workers: 4 }, 0);
    const [local, first, second] = balancer.locales;
    assert.deepEqual(
      [first, second].map((one) => balancer.bearsOf(one!)),
      [3, 2],
    );
    local!.limit.limit = 7;
    local!.touch(0);
    balancer.bringUpToDate(1_000);
    assert.equal(balancer.bearsOf(local!), 7);
  });

  it("takes a few at once where less than one is granted, and none where nothing is", () => {
    const most = (grant: number): number => {
      const tiny = treeService([localeAt("local", HERE, [1], { grant })]);
      const balancer = new ServiceBalancer(tiny, PLACE, 0);
      const rng = seededRng(1);
      for (let running = 0; ; running++) {
        const endpoint = balancer.pick(ANYWHERE, 0, rng);
        if (endpoint === undefined) return running;
        balancer.started(endpoint, 0);
      }
    };
    assert.deepEqual([most(0.25), most(0)], [3, 0]);
  });

  it("sheds where all are full, and counts it by class", () => {
    const balancer = new ServiceBalancer(
      treeService([localeAt("local", HERE, [1], { capacity: 10 })]),
      PLACE,
      0,
    );
    // Ten, and a queue of two roots of it.
    fill(balancer, 1, 16);
    const rng = seededRng(1);
    const ask = (priority: "critical" | "default" | "sheddable") => ({ ...ANYWHERE, priority });
    assert.ok(balancer.pick(ask("critical"), 0, rng));
    assert.ok(balancer.pick(ask("default"), 0, rng));
    fill(balancer, 1, 1);
    assert.ok(balancer.pick(ask("critical"), 0, rng));
    assert.equal(balancer.pick(ask("default"), 0, rng), undefined, "others do not wait so long");
    assert.equal(balancer.whyNot(ask("default"), 0), "shed");
    assert.equal(balancer.pick(ask("sheddable"), 0, rng), undefined);
    assert.deepEqual([...balancer.shed], [0, 1, 1]);
  });

  it("is no reason to try who is dead", () => {
    const locales = [localeAt("local", HERE, [1], { capacity: 1 }), localeAt("sibling", US, [20])];
    const balancer = new ServiceBalancer(treeService(locales), PLACE, 0);
    balancer.linkRtt(US, undefined, 0);
    fill(balancer, 1, 3);
    assert.deepEqual(drawn(balancer).counts, { 0: 1_000 });
    assert.equal(balancer.shed[1], 1_000);
  });

  it("tells what clients here want, also what was turned away", () => {
    const small = treeService([localeAt("local", HERE, [1], { capacity: 5 })]);
    const balancer = new ServiceBalancer(small, PLACE, 0);
    const rng = seededRng(1);
    const running: { endpoint: EndpointState; until: number }[] = [];
    for (let now = 0; now < 10_000; now += 10) {
      while (running[0] !== undefined && running[0].until <= now)
        balancer.finished(running.shift()!.endpoint, "ok", 100, now);
      const visited = now % 20 === 0 ? [] : [STORE_1];
      const endpoint = balancer.pick({ ...ANYWHERE, visited, foreign: now % 20 !== 0 }, now, rng);
      if (endpoint === undefined) continue;
      balancer.started(endpoint, now);
      running.push({ endpoint, until: now + 100 });
    }
    // 100 requests per second of 100 ms each, every second one from elsewhere.
    const { demand, arrivals } = balancer.localHealth(10_000);
    assert.ok(Math.abs(arrivals - 50) < 5, `${arrivals} per second`);
    assert.ok(Math.abs(demand - 5) < 1, `${demand} at once`);
  });
});

describe("a place that has said that it has nobody", () => {
  it("counts as one that has nobody for two seconds, until it serves again or its summary changes", () => {
    const locales = { 20: { p50Ms: 0 } };
    const balancer = new ServiceBalancer(tree({}, locales), PLACE, 0);
    const at = (now: number) =>
      Object.keys(drawn(balancer, { ...ANYWHERE, visited: [] }, now).counts);
    const [local] = balancer.locales;
    balancer.linkRtt(US, 0.1, 0);
    local!.endpoints[0]!.outlier = { ...local!.endpoints[0]!.outlier, ejectedUntil: 100_000 };
    assert.deepEqual(at(200), ["20"]);
    const us = endpointAt(balancer, 20);
    balancer.hasNobody(us, undefined, 300);
    assert.ok(!at(300).includes("20"));
    assert.equal(reasons(balancer, ANYWHERE, 300)[US], "said a moment ago that it has nobody");
    assert.ok(!at(2_200).includes("20"));
    assert.ok(at(5_000).includes("20"), "it is over");
    balancer.hasNobody(us, undefined, 5_000);
    balancer.started(us, 5_000);
    balancer.finished(us, "ok", 1, 5_100);
    assert.ok(at(5_200).includes("20"), "it has served");
    balancer.hasNobody(us, undefined, 6_000);
    const same = new ServiceBalancer(tree({}, locales), PLACE, 6_100, balancer);
    assert.match(reasons(same, ANYWHERE, 6_100)[US]!, /a moment ago/);
    const other = new ServiceBalancer(tree({}, { 20: { healthy: 2 } }), PLACE, 6_200, same);
    assert.doesNotMatch(reasons(other, ANYWHERE, 6_200)[US]!, /nobody/);
  });

  it("has somebody for other requests, if this one had to be served in a certain subtree", () => {
    const balancer = new ServiceBalancer(tree(), PLACE, 0);
    balancer.hasNobody(endpointAt(balancer, 20), named("store-1.us.acme.mesh"), 0);
    assert.doesNotMatch(reasons(balancer)[US]!, /nobody/);
    const fenced = new ServiceBalancer(tree(places({ mustStayIn: US })), PLACE, 0);
    fenced.hasNobody(endpointAt(fenced, 20), US, 0);
    assert.match(reasons(fenced)[US]!, /a moment ago/);
  });
});

describe("a retry", () => {
  it("climbs after a sibling has failed it, and goes to the next after a child", () => {
    const locales = { 1: { p50Ms: 500 }, 12: { p50Ms: 160 } };
    const balancer = new ServiceBalancer(tree({}, locales), PLACE, 0);
    const after = (port: number, more: object = {}) =>
      balancer.pick({ ...ANYWHERE, tried: [endpointAt(balancer, port)], ...more }, 0, seededRng(1))
        ?.endpoint.port;
    assert.equal(after(20), 30, "though stores are cheaper");
    assert.equal(after(11), 12);
    const sent = { tried: [], foreign: true, visited: [STORE_1] };
    assert.equal(after(0, { ...sent, avoid: [named("store-2.eu.acme.mesh")] }), 30);
    balancer.linkRtt(named("core.acme.mesh"), undefined, 0);
    assert.equal(after(20), 1, "our own, there is no way up");
  });
});

describe("a request that other clusters have sent", () => {
  const balancer = new ServiceBalancer(tree(), PLACE, 0);
  const from = (...visited: string[]) => ({
    ...ANYWHERE,
    foreign: true,
    visited: visited.map(named),
  });
  const allowed = (constraint: PickConstraint) =>
    balancer.locales
      .filter(({ index }) => balancer.rules.refusal(index, constraint) === undefined)
      .map(({ endpoints }) => endpoints[0]!.endpoint.port);

  it("goes anywhere but back if a child has sent it, be it known or not", () => {
    assert.deepEqual(allowed(from(STORE_1)), [1, 12, 20, 30]);
    assert.deepEqual(allowed(from("store-9.eu.acme.mesh")), [1, 11, 12, 20, 30]);
  });

  it("goes neither aside nor up if a sibling or the parent has sent it", () => {
    for (const sender of [US, "ap.acme.mesh", "core.acme.mesh"]) {
      assert.deepEqual(allowed(from("store-1.us.acme.mesh", sender)), [1, 11, 12], sender);
    }
    assert.match(reasons(balancer, from("ap.acme.mesh"))[US]!, /who has sent the request knows it/);
  });

  it("comes from below wherever it comes from, to the core", () => {
    const locales = [
      localeAt("child", "eu.acme.mesh", [1]),
      localeAt("sibling", "other.mesh", [2]),
    ];
    const core = new ServiceBalancer(
      treeService(locales),
      { self: named("core.acme.mesh"), workers: 1 },
      0,
    );
    assert.equal(core.rules.refusal(1, from(US)), undefined);
    assert.equal(core.rules.refusal(1, from("else.mesh")), "walk");
  });

  it("does not go where it has failed before, unless nobody else is left", () => {
    const world = new ServiceBalancer(tree(), PLACE, 0);
    const constraint = {
      ...from(STORE_1),
      avoid: [HERE, STORE_1, named("store-2.eu.acme.mesh"), US],
    };
    const endpoint = endpointAt(world, 1);
    const ports = (now: number) => Object.keys(drawn(world, constraint, now).counts);
    assert.deepEqual(ports(0), ["1"], "what is our own is not meant");
    endpoint.outlier = { ...endpoint.outlier, ejectedUntil: 1_000 };
    assert.deepEqual(ports(200), ["30"], "the only other one");
    world.linkRtt(named("core.acme.mesh"), undefined, 300);
    assert.deepEqual(ports(400), ["1"], "one that is out before what has failed it");
    const tried = [endpoint, endpointAt(world, 30)];
    const next = world.pick({ ...constraint, tried }, 500, seededRng(1));
    assert.equal(next?.endpoint.port, 12);
    assert.match(reasons(world, constraint)[US]!, /failed this request already/);
  });

  it("is told of a loop only if that is why", () => {
    const locales = [localeAt("parent", "core.acme.mesh", [30])];
    const none = new ServiceBalancer(treeService(locales), PLACE, 0);
    // That who has sent it has somebody itself, it knows.
    assert.equal(none.whyNot(from("core.acme.mesh"), 0), "no_candidate");
    const been = from("core.acme.mesh", "store-9.eu.acme.mesh");
    assert.equal(none.whyNot(been, 0), "loop");
    none.linkRtt(named("core.acme.mesh"), undefined, 1);
    assert.equal(none.whyNot(been, 1), "no_candidate");
  });
});
