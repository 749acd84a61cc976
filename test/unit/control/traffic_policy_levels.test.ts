import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Policies } from "#control/compile/policy.ts";
import { POLICY_FIELDS, type PolicyField, policyOf } from "#control/compile/policy_fields.ts";
import type { PolicyOrder } from "#control/compile/policy_orders.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { type ClusterName, isWithin } from "#model/names.ts";
import { type Order, orderKey } from "#model/order.ts";
import { NOWHERE, type RateLimit, type TrafficPolicy } from "#model/traffic_policy.ts";
import { cluster, MESH } from "#test/kit/mesh.ts";

const [CORE, EU, STORE] = [cluster("core"), cluster("eu"), cluster("s1.eu")];
const SERVICE = "menu.shop";

function order(from: ClusterName, policy: TrafficPolicy, service?: string): PolicyOrder {
  const name = service === undefined ? "default/all" : "default/own";
  const base = { kind: "policy", from, name, policy } as const;
  return service === undefined ? base : { ...base, service };
}

/** What holds at `s1.eu`. */
function at(...orders: Order[]) {
  return new Policies(MESH, STORE, orders).of(SERVICE);
}

function said(field: PolicyField, value: unknown): TrafficPolicy {
  return policyOf([[field, value]])!;
}

/** Of each field a parent's value, a child's that is tighter, and one that is not. */
const ROWS: Readonly<
  Record<PolicyField, readonly [parent: unknown, tighter: unknown, looser: unknown]>
> = {
  "balance.algorithm": ["RoundRobin", "PeakEwma", "LeastRequest"],
  "balance.hashOn": [{ type: "Caller" }, { type: "SourceAddress" }, { type: "Header", name: "a" }],
  "balance.slowStartMs": [10, 5, 20],
  "balance.subsetSize": [10, 5, 20],
  "balance.panicShare": [0.5, 0.4, 0.6],
  "balance.zoneAware": [true, false, false],
  "outliers.consecutiveFailures": [5, 4, 6],
  "outliers.ejectionMs": [10, 5, 20],
  "outliers.ejectionMaxMs": [10, 5, 20],
  "outliers.maxEjectedShare": [0.5, 0.4, 0.6],
  "outliers.intervalMs": [10, 5, 20],
  "outliers.successRate.stdevFactor": [2, 1, 3],
  "outliers.successRate.minHosts": [2, 1, 3],
  "outliers.successRate.minRequests": [2, 1, 3],
  "outliers.failureShare.threshold": [0.5, 0.4, 0.6],
  "outliers.failureShare.minHosts": [2, 1, 3],
  "outliers.failureShare.minRequests": [2, 1, 3],
  "limits.requests": [10, 5, 20],
  "limits.requestsPerCaller": [10, 5, 20],
  "limits.retries": [10, 5, 20],
  "limits.adaptive": [true, true, false],
  "waterfall.deadBandShare": [0.5, 0.4, 0.6],
  "waterfall.deadBandMs": [10, 5, 20],
  "waterfall.dwellMs": [10, 5, 20],
  "waterfall.rampMs": [10, 5, 20],
  "retries.budgetShare": [0.5, 0.4, 0.6],
  "retries.budgetPerSecond": [10, 5, 20],
  "hedging.percentile": [90, 80, 99],
  "hedging.minDelayMs": [10, 5, 20],
  "priority.class": ["default", "sheddable", "critical"],
  "priority.header": ["x-a", "x-b", "x-c"],
  rateLimits: [[limit("x", 10, 10)], [limit("x", 5, 5), limit("y", 3, 3)], [limit("x", 20, 20)]],
  "places.mustStayIn": [EU, STORE, "us.acme.mesh"],
  "places.pin": [EU, STORE, CORE],
  "places.split": [
    [{ cluster: EU, weight: 1 }],
    [{ cluster: STORE, weight: 1 }],
    [{ cluster: CORE, weight: 1 }],
  ],
};

function limit(name: string, rate: number, burst: number, change?: Partial<RateLimit>): RateLimit {
  return { name, scope: "Local", rate, burst, ...change };
}

function valueAt(policy: TrafficPolicy | undefined, field: PolicyField): unknown {
  return field
    .split(".")
    .reduce<unknown>(
      (value, step) => (value as Record<string, unknown> | undefined)?.[step],
      policy,
    );
}

describe("what a level says of a field, under the level above", () => {
  for (const [name, { rule, said: yaml }] of Object.entries(POLICY_FIELDS)) {
    const field = name as PolicyField;
    const [parent, tighter, looser] = ROWS[field];
    it(`${yaml} (${rule})`, () => {
      const merged = (child: unknown) =>
        at(order(CORE, said(field, parent)), order(EU, said(field, child)));
      assert.deepEqual(valueAt(at(order(CORE, said(field, parent))).policy, field), parent);
      const [tight, loose] = [merged(tighter), merged(looser)];
      assert.deepEqual(valueAt(tight.policy, field), tighter);
      assert.deepEqual(tight.refused, []);
      if (rule === "preference") {
        assert.deepEqual(valueAt(loose.policy, field), looser);
        assert.deepEqual(loose.refused, []);
        return;
      }
      assert.deepEqual(valueAt(loose.policy, field), rule === "narrower" ? NOWHERE : parent);
      assert.ok(loose.refused.length > 0, "nothing is reported");
      for (const { by, field: told, text } of loose.refused) {
        assert.equal(by.from, EU);
        assert.ok(told === yaml || told.startsWith(`${yaml}.x.`), told);
        assert.match(text, /is looser than|excludes/);
        assert.match(text, / of core\.acme\.mesh default\/all$/);
      }
    });
  }
});

describe("policies of one service", () => {
  it("beat those for all within a cluster, field by field, limits too", () => {
    const { policy, origins, refused } = at(
      order(EU, {
        limits: { requests: 10, retries: 2 },
        rateLimits: [limit("x", 1, 1), limit("y", 1, 1)],
      }),
      order(EU, { limits: { requests: 50 }, rateLimits: [limit("x", 9, 9)] }, SERVICE),
      order(EU, { limits: { requests: 1 } }, "till.shop"),
    );
    assert.deepEqual(policy?.limits, { requests: 50, retries: 2 });
    assert.deepEqual(policy?.rateLimits, [limit("y", 1, 1), limit("x", 9, 9)]);
    assert.deepEqual(refused, []);
    assert.deepEqual(origins, [
      {
        cluster: EU,
        policy: "default/own",
        fields: ["limits.requests", "rateLimits.x"],
        refused: [],
      },
      {
        cluster: EU,
        policy: "default/all",
        fields: ["limits.retries", "rateLimits.y"],
        refused: [],
      },
    ]);
  });

  it("do not get from under what a cluster above says for all", () => {
    const { policy, refused } = at(
      order(CORE, { limits: { requests: 10 } }),
      order(EU, { limits: { requests: 50 } }, SERVICE),
    );
    assert.deepEqual(policy, { limits: { requests: 10 } });
    assert.deepEqual(
      refused.map(({ by, field, text }) => `${by.from} ${by.name} ${field}: ${text}`),
      [
        "eu.acme.mesh default/own limits.requests: 50 is looser than 10 of core.acme.mesh default/all",
      ],
    );
  });

  it("have an algorithm and what it hashes on from one level", () => {
    const hashed: TrafficPolicy = { balance: { algorithm: "Maglev", hashOn: { type: "Caller" } } };
    const plain: TrafficPolicy = { balance: { algorithm: "RoundRobin" } };
    assert.deepEqual(at(order(CORE, hashed), order(EU, plain)).policy, plain);
    assert.deepEqual(at(order(EU, hashed), order(EU, plain, SERVICE)).policy, plain);
    assert.deepEqual(at(order(CORE, plain), order(EU, hashed)).policy, hashed);
  });

  it("turn hedging off by percentile 0", () => {
    const off = at(
      order(CORE, { hedging: { percentile: 95, minDelayMs: 5 } }),
      order(EU, { hedging: { percentile: 0 } }),
    );
    assert.equal(off.policy, undefined);
  });

  it("are nobody's if nobody says anything, and not those of clusters that are not above", () => {
    assert.deepEqual(at(), { policy: undefined, origins: [], refused: [] });
    const stranger = order(cluster("us"), { limits: { requests: 1 } });
    assert.equal(at(stranger).policy, undefined);
    assert.equal(
      at(order(cluster("s1.us"), { limits: { requests: 1 } }, SERVICE)).policy,
      undefined,
    );
  });
});

describe("fences", () => {
  const fence = (from: ClusterName, mustStayIn: string) =>
    order(from, { places: { mustStayIn: mustStayIn as ClusterName } });

  it("that exclude each other leave nobody, whoever says more", () => {
    const apart = [fence(CORE, "us.acme.mesh"), fence(EU, EU)];
    const { policy, refused } = at(...apart);
    assert.equal(policy?.places?.mustStayIn, NOWHERE);
    assert.deepEqual(
      refused.map(({ problem }) => problem),
      ["contradiction"],
    );
    assert.equal(at(...apart, fence(STORE, STORE)).policy?.places?.mustStayIn, NOWHERE);
    assert.ok(!isWithin(STORE, NOWHERE) && !isWithin(cluster("us"), NOWHERE));
  });

  it("keep the narrower if one is within the other, and say that the wider counts for nothing", () => {
    assert.equal(at(fence(CORE, EU), fence(EU, STORE)).policy?.places?.mustStayIn, STORE);
    const wider = at(fence(CORE, STORE), fence(EU, EU));
    assert.equal(wider.policy?.places?.mustStayIn, STORE);
    assert.deepEqual(
      wider.refused.map(({ problem }) => problem),
      ["looser"],
    );
  });

  it("hold against pins and splits, an operator's too", () => {
    const pinned = order(EU, {
      places: {
        pin: cluster("us"),
        split: [
          { cluster: cluster("us"), weight: 1 },
          { cluster: STORE, weight: 2 },
        ],
      },
    });
    const { policy, refused } = at(fence(CORE, EU), pinned);
    assert.deepEqual(policy?.places, { mustStayIn: EU, split: [{ cluster: STORE, weight: 2 }] });
    assert.deepEqual(
      refused.map(({ problem, field }) => `${problem} ${field}`),
      ["outside places.pin", "outside places.split"],
    );
    const order7 = { kind: "pin", from: CORE, service: SERVICE, cluster: cluster("us") } as const;
    assert.deepEqual(at(fence(CORE, EU), order7).policy?.places, { mustStayIn: EU });
    const gone = at(
      fence(CORE, EU),
      order(EU, { places: { split: [{ cluster: CORE, weight: 1 }] } }),
    );
    assert.deepEqual(gone.policy?.places, { mustStayIn: EU });
  });
});

describe("an operator's pin", () => {
  const pin = (from: ClusterName, to: string) =>
    ({ kind: "pin", from, service: SERVICE, cluster: cluster(to) }) as const;

  it("beats every policy's; of several the nearest holds", () => {
    const written = order(STORE, { places: { pin: STORE } }, SERVICE);
    const { policy, origins } = at(pin(CORE, "us"), written);
    assert.equal(policy?.places?.pin, cluster("us"));
    assert.deepEqual(origins[0], {
      ...{ cluster: CORE, policy: "an operator's pin", fields: ["places.pin"], refused: [] },
    });
    assert.equal(at(pin(EU, "eu"), pin(CORE, "us")).policy?.places?.pin, EU);
  });

  it("is for its service alone", () => {
    const policies = new Policies(MESH, STORE, [pin(CORE, "us")]);
    assert.equal(policies.of("till.shop").policy, undefined);
  });
});

describe("rate limits", () => {
  it("of one name for other clients are another limit, under another name", () => {
    const each = limit("x", 100, 100, { by: { type: "Caller" } });
    const { policy, refused } = at(
      order(CORE, { rateLimits: [limit("x", 10, 10)] }),
      order(EU, { rateLimits: [each] }),
      order(STORE, { rateLimits: [limit("x", 5, 20)] }),
    );
    assert.deepEqual(policy?.rateLimits, [limit("x", 5, 10), { ...each, name: "x-2" }]);
    assert.deepEqual(
      refused.map(({ field }) => field),
      ["rateLimits.x.burst"],
    );
  });

  it("of the mesh have what is leased to this cluster by all who have written them", () => {
    const mesh = { scope: "Mesh" as const };
    const lease = (from: ClusterName, name: string, rate: number) =>
      ({ kind: "lease", from, service: SERVICE, limit: name, rate }) as const;
    const limits = [
      order(CORE, { rateLimits: [limit("x", 100, 100, mesh), limit("y", 9, 9, mesh)] }),
      order(EU, { rateLimits: [limit("x", 50, 50, mesh)] }),
    ];
    const { policy } = at(...limits, lease(CORE, "x", 20), lease(EU, "x", 12), lease(CORE, "z", 1));
    assert.deepEqual(policy?.rateLimits, [
      limit("x", 50, 50, { ...mesh, leased: 12 }),
      limit("y", 9, 9, mesh),
    ]);
    assert.equal(at(...limits, lease(CORE, "x", 7)).policy?.rateLimits?.[0]?.leased, 7);
  });

  it("of one name have each its own lease: by who has written it, and whom it counts by", () => {
    const mesh = { scope: "Mesh" as const };
    const each = { ...mesh, by: { type: "Caller" as const } };
    const lease = (from: ClusterName, rate: number, by?: { type: "Caller" }): Order => {
      return { kind: "lease", from, service: SERVICE, limit: "x", ...(by && { by }), rate };
    };
    const limits = [
      order(CORE, { rateLimits: [limit("x", 100, 100, mesh)] }),
      order(EU, { rateLimits: [limit("x", 50, 50, each)] }),
    ];
    const leases = [lease(CORE, 20), lease(EU, 12, each.by), lease(EU, 3), lease(CORE, 2, each.by)];
    assert.equal(new Set(leases.map(orderKey)).size, 4);
    for (const all of [leases, leases.toReversed()]) {
      assert.deepEqual(at(...limits, ...all).policy?.rateLimits, [
        limit("x", 100, 100, { ...mesh, leased: 20 }),
        limit("x-2", 50, 50, { ...each, leased: 12 }),
      ]);
    }
  });
});

describe("generated levels", () => {
  const CASES = 400;
  const PLACES = ["eu", "us", "s1.eu", "s2.eu", "s1.us", "x.s1.eu"].map(cluster);
  /** A policy with some of the values that the table above has. */
  function anyPolicy(rng: Rng): TrafficPolicy {
    const fields: [PolicyField, unknown][] = [];
    for (const [name, values] of Object.entries(ROWS)) {
      if (rng.next() < 0.6) continue;
      const field = name as PolicyField;
      let value: unknown = values[Math.floor(rng.next() * 3)];
      if (field === "balance.hashOn") continue;
      if (field === "rateLimits") value = anyLimits(rng);
      if (field === "places.mustStayIn") value = PLACES[Math.floor(rng.next() * PLACES.length)];
      if (typeof value === "number" && value > 1) value = Math.ceil(rng.next() * 20);
      fields.push([field, value]);
    }
    return policyOf(fields) ?? {};
  }
  function anyLimits(rng: Rng): RateLimit[] {
    return ["x", "y", "z"].flatMap((name) =>
      rng.next() < 0.5
        ? []
        : [
            limit(name, Math.ceil(rng.next() * 9), Math.ceil(rng.next() * 9), {
              ...(rng.next() < 0.3 ? { scope: "Mesh" as const } : {}),
              ...(rng.next() < 0.3 ? { by: { type: "Caller" as const } } : {}),
            }),
          ],
    );
  }
  const isLimit = (field: string) => POLICY_FIELDS[field as PolicyField].rule !== "preference";

  it("never loosen a limit of a level above", () => {
    for (let seed = 0; seed < CASES; seed++) {
      const rng = seededRng(seed);
      const levels = [CORE, EU, STORE].flatMap((from) => [
        order(from, anyPolicy(rng)),
        ...(rng.next() < 0.5 ? [order(from, anyPolicy(rng), SERVICE)] : []),
      ]);
      const above = new Policies(MESH, EU, levels).of(SERVICE).policy;
      const here = at(...levels).policy;
      for (const field of Object.keys(POLICY_FIELDS).filter(isLimit) as PolicyField[]) {
        const [a, b] = [valueAt(above, field), valueAt(here, field)];
        if (a === undefined) continue;
        const fault = `seed ${seed}: ${field}: ${JSON.stringify(a)} became ${JSON.stringify(b)}`;
        if (field === "rateLimits") {
          for (const one of a as RateLimit[]) {
            const found = (b as RateLimit[]).find(({ name }) => name === one.name);
            assert.ok(
              found !== undefined && found.rate <= one.rate && found.burst <= one.burst,
              fault,
            );
            assert.deepEqual([found.scope, found.by], [one.scope, one.by], fault);
          }
        } else if (field === "limits.adaptive") assert.ok(a === false || b === true, fault);
        else if (field === "places.mustStayIn") {
          assert.ok(b === NOWHERE || isWithin(b as string, a as string), fault);
        } else assert.ok((b as number) <= (a as number), fault);
      }
    }
  });

  it("mean the same if two levels are merged first, or said at one", () => {
    for (let seed = 0; seed < CASES; seed++) {
      const rng = seededRng(seed);
      const [a, b, c] = [anyPolicy(rng), anyPolicy(rng), anyPolicy(rng)];
      const whole = at(order(CORE, a), order(EU, b), order(STORE, c)).policy;
      const upper = at(order(CORE, a), order(EU, b)).policy ?? {};
      const lower = at(order(EU, b), order(STORE, c)).policy ?? {};
      // Names that tell two limits apart are given at the end; pins outside of a fence are dropped there.
      const bare = (policy: TrafficPolicy | undefined) => ({
        ...policy,
        rateLimits: undefined,
        places: policy?.places?.mustStayIn,
      });
      assert.deepEqual(
        bare(at(order(CORE, upper), order(EU, c)).policy),
        bare(whole),
        `seed ${seed}`,
      );
      assert.deepEqual(
        bare(at(order(CORE, a), order(EU, lower)).policy),
        bare(whole),
        `seed ${seed}`,
      );
    }
  });

  it("do not depend on the order in which they are heard", () => {
    for (let seed = 0; seed < CASES; seed++) {
      const rng = seededRng(seed);
      const levels = [CORE, EU, STORE].map((from) => order(from, anyPolicy(rng)));
      assert.deepEqual(at(...levels.toReversed()), at(...levels), `seed ${seed}`);
    }
  });
});
