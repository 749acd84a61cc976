import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { DEADLINE_DEFAULT_MS } from "#proxy/retry/deadline.ts";
import { MeshStand, type Place } from "#test/kit/mesh_stand.ts";

/** Three gateways in a row; the last one has endpoints. */
function inARow(): MeshStand {
  return new MeshStand({
    "a.b.c": [{ kind: "parent", at: "b.c", count: 2 }],
    "b.c": [{ kind: "parent", at: "c", count: 2 }],
    c: [{ kind: "local", count: 4 }],
  });
}

describe("a request over three gateways", () => {
  it("has as much time as is left of it at each", () => {
    const stand = inARow();
    let cut = 0;
    stand.link = () => (++cut % 2 === 1 ? "connect_refused" : undefined);
    assert.equal(stand.answered("a.b.c").status, 200);
    const left = stand.arrivals.map((one) => Number(one.field("x-mesh-deadline")));
    const all = DEADLINE_DEFAULT_MS;
    assert.deepEqual(left, [all, all - 1, all - 1, all - 2, Number.NaN]);
  });

  it("is tried four times at most, whatever fails where", () => {
    let most = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const rng = seededRng(seed);
      const stand = inARow();
      stand.origin = () => ([200, 503, "closed_early", "connect_refused"] as const)[rng.below(4)]!;
      stand.link = () =>
        ([undefined, undefined, "closed_early", "connect_refused"] as const)[rng.below(4)];
      stand.answered("a.b.c");
      const tries = stand.served.length;
      assert.ok(tries <= 4, `seed ${seed}: ${tries} tries`);
      most = Math.max(most, tries);
    }
    assert.equal(most, 4);
  });

  for (const meets of [503, "connect_refused", "closed_early"] as const) {
    it(`is tried again for a fifth of the traffic in all if endpoints say ${meets}`, () => {
      const stand = inARow();
      stand.origin = () => meets;
      for (let i = 0; i < 5_000; i++) {
        stand.ask("a.b.c");
        stand.clock.advance(1);
      }
      stand.clock.advance(20_000);
      // Each of the three has its ten a second, and what can have been saved.
      const most = 5_000 * 1.2 + 3 * (10 * 5 + 100);
      assert.ok(stand.served.length <= most, String(stand.served.length));
    });
  }

  it("finds another way where a gateway is gone", () => {
    const stand = inARow();
    let cut = 0;
    stand.link = (from) => (from === "b.c" && cut++ === 0 ? "connect_refused" : undefined);
    assert.equal(stand.answered("a.b.c", { method: "POST" }).status, 200);
    assert.equal(stand.served.length, 1);
  });
});

describe("a request that a black hole has cost a try", () => {
  const stores = () =>
    new MeshStand({
      "a.eu": [
        { kind: "sibling", at: "b.eu" },
        { kind: "parent", at: "eu" },
      ],
      eu: [
        { kind: "child", at: "b.eu" },
        { kind: "local", p50Ms: 100 },
      ],
      "b.eu": [{ kind: "local" }],
    });

  it("is not sent there again by the next gateway", () => {
    for (const lost of ["link_down", "connect_timeout", "closed_early"] as const) {
      const stand = stores();
      stand.link = (_, to) => (to === "b.eu" ? lost : undefined);
      assert.equal(stand.answered("a.eu").status, 200);
      const gateways = stand.arrivals.filter(({ port }) => port === undefined);
      assert.deepEqual(
        gateways.map(({ at }) => at),
        ["b.eu", "eu"],
        lost,
      );
      assert.equal(gateways[1]!.field("x-mesh-avoid"), "b.eu.acme.mesh", lost);
    }
  });

  it("says nothing of the kind while nothing has failed it", () => {
    const stand = stores();
    stand.answered("a.eu");
    assert.equal(stand.arrivals[0]!.field("x-mesh-avoid"), undefined);
  });
});

describe("two regions that have both lost a service", () => {
  /** Each believes that the other one has it, and core that both have. @param inCore what core has itself. */
  const regions = (...inCore: readonly Place[]) =>
    new MeshStand({
      core: [{ kind: "child", at: "eu" }, { kind: "child", at: "us" }, ...inCore],
      eu: [
        { kind: "sibling", at: "us" },
        { kind: "parent", at: "core" },
      ],
      us: [
        { kind: "sibling", at: "eu" },
        { kind: "parent", at: "core" },
      ],
    });

  for (const method of ["GET", "POST"]) {
    it(`do not play ping-pong with a ${method}`, () => {
      const stand = regions();
      for (let i = 0; i < 50; i++) {
        stand.arrivals.length = 0;
        const met = stand.answered("eu", { method });
        assert.equal(met.status, 503, "everybody else has been asked");
        for (const one of stand.arrivals) {
          const path = one.field("x-mesh-path")!.split(",");
          assert.equal(new Set(path).size, path.length, String(path));
          assert.ok(!path.includes(`${one.at}.acme.mesh`), `${path} leads back to ${one.at}`);
        }
        // Four tries of the first region, each of which looks for one more.
        assert.ok(stand.arrivals.length <= 8, String(stand.arrivals.length));
      }
    });
  }

  it("are served by a third one that has it still", () => {
    const stand = regions({ kind: "local" });
    for (let i = 0; i < 50; i++) assert.equal(stand.answered("eu", { method: "POST" }).status, 200);
  });
});

describe("a pin that cannot be followed", () => {
  for (const [what, more] of [
    ["nobody is left there", {}],
    ["the way there is fenced", { eu: { policy: { places: { mustStayIn: "eu.acme.mesh" } } } }],
  ] as const) {
    it(`is a preference: whoever is left serves the request, where ${what}`, () => {
      const stand = new MeshStand(
        {
          eu: [{ kind: "local" }, { kind: "child", at: "s1.eu" }],
          "s1.eu": [{ kind: "local" }],
          "s2.eu": [{ kind: "parent", at: "eu" }],
        },
        { serviceOf: { "s2.eu": { policy: { places: { pin: "s1.eu.acme.mesh" } } }, ...more } },
      );
      stand.origin = ({ at }) => (at === "s1.eu" ? "connect_refused" : 200);
      for (let i = 0; i < 30; i++) {
        const { status } = stand.answered("s2.eu", { method: "POST" });
        assert.equal(status, 200, `request ${i}`);
      }
      assert.ok(
        stand.arrivals.some(({ at }) => at === "eu"),
        "the pin is followed at first",
      );
    });
  }

  it("is released after a back-off too, whatever others have asked for meanwhile", () => {
    const rule = {
      matches: [{ path: { type: "PathPrefix", value: "/" } }],
      backends: [{ service: "origin.shop" }],
      retry: { backoffMs: 100 },
    };
    const route = { name: "all", listeners: ["http"], hostnames: ["shop.example"], rules: [rule] };
    const stand = new MeshStand(
      {
        eu: [{ kind: "local" }],
        "s2.eu": [
          { kind: "parent", at: "eu", count: 2 },
          { kind: "sibling", at: "s3.eu" },
        ],
        "s3.eu": [{ kind: "local" }],
      },
      {
        routes: [route],
        serviceOf: {
          "s2.eu": { policy: { places: { pin: "s1.eu.acme.mesh" } } },
          eu: { policy: { places: { mustStayIn: "us.acme.mesh" } } },
        },
      },
    );
    let lost = 0;
    stand.link = (_, to) => (to === "eu" && lost++ === 0 ? "connect_refused" : undefined);
    const pinned = stand.ask("s2.eu", { authority: "shop.example" });
    stand.clock.advance(20);
    // It names a subtree itself: no pin binds it.
    stand.ask("s2.eu", { authority: "origin.shop.svc.s3.eu.acme.mesh" });
    stand.clock.advance(20_000);
    assert.equal(pinned.answer?.status, 200);
  });
});

describe("requests whose way is lost", () => {
  it("wait for room where all that is left is full", () => {
    const stand = new MeshStand({
      "s1.eu": [
        { kind: "parent", at: "eu" },
        { kind: "sibling", at: "s2.eu", capacity: 2, p50Ms: 50 },
      ],
      "s2.eu": [{ kind: "local" }],
      eu: [{ kind: "local" }],
    });
    stand.link = (_, to) => (to === "eu" ? "link_down" : undefined);
    const met = Array.from({ length: 40 }, () => stand.ask("s1.eu"));
    // Who comes while they wait does not find the door shut.
    for (let i = 0; i < 40; i++) {
      stand.clock.advance(5);
      met.push(stand.ask("s1.eu", { method: "POST" }));
    }
    stand.clock.advance(20_000);
    const statuses = met.map(({ answer }) => answer?.status);
    assert.deepEqual(new Set(statuses), new Set([200]));
  });
});
