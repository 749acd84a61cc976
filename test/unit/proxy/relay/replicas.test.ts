import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName, ServiceName } from "#model/names.ts";
import { MeshStand } from "#test/kit/mesh_stand.ts";

const REPLICATION = {
  primary: "us.acme.mesh",
  epoch: 4,
  replicas: ["edge.acme.mesh", "us.acme.mesh"],
  maxStalenessMs: 5_000,
};

function replicated(more: object = {}, routes: readonly object[] = []): MeshStand {
  const service = { replication: { ...REPLICATION, ...more } };
  return new MeshStand(
    {
      edge: [
        { kind: "local", stalenessMs: 2_000 },
        { kind: "sibling", at: "us", stalenessMs: 0 },
      ],
      us: [{ kind: "local", stalenessMs: 0 }],
    },
    { service, routes },
  );
}

describe("a service with replicas", () => {
  it("has its writes told apart on their way, with the epoch, and its endpoints told of it", () => {
    const stand = replicated();
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      stand.arrivals.length = 0;
      const fields = ["espalier-primary-epoch", "9", "espalier-data", "read"];
      stand.answered("us", { method, fields });
      assert.deepEqual(
        stand.served.map(({ head }) => head.fields.filter((name) => name.startsWith("espalier-"))),
        [["espalier-primary-epoch"]],
        method,
      );
      assert.equal(stand.served[0]!.field("espalier-primary-epoch"), "4");
    }
    stand.arrivals.length = 0;
    stand.answered("us", { fields: ["espalier-primary-epoch", "9"] });
    assert.equal(stand.served[0]!.field("espalier-primary-epoch"), undefined, "it only reads");
  });

  it("tells who wrote when that was, and nobody else", () => {
    const stand = replicated();
    const wrote = stand.answered("us", { method: "POST" });
    const at = Number.parseInt(wrote.field("espalier-written")!, 36);
    assert.ok(at > 0 && at <= stand.clock.wall());
    assert.match(wrote.field("set-cookie")!, /^espalier-written=[0-9a-z]+; .*; Max-Age=7$/);
    assert.equal(stand.answered("us").field("espalier-written"), undefined);
    stand.origin = () => 409;
    assert.equal(stand.answered("us", { method: "POST" }).field("espalier-written"), undefined);
  });

  const data = (stand: MeshStand, fields: string[]): string | undefined => {
    const { balancer } = stand.tables("edge").services.get("origin.shop" as ServiceName)!;
    let seen: string | undefined;
    const pick = balancer.pick.bind(balancer);
    balancer.pick = (constraint, now, rng) => {
      seen = `${constraint.data!.write} ${constraint.data!.maxStalenessMs}`;
      return pick(constraint, now, rng);
    };
    stand.answered("edge", { fields });
    return seen;
  };

  for (const [what, agoMs, most] of [
    ["just now", 0, 0],
    ["within what clocks may differ by", 900, 0],
    ["a while ago", 3_500, 2_500],
    ["long ago", 60_000, 5_000],
    ["in the time to come", -60_000, 0],
  ] as const) {
    it(`reads what a client has written ${what} where data is at most ${most} ms old`, () => {
      for (const as of ["field", "cookie"]) {
        const stand = replicated();
        const token = (stand.clock.wall() - agoMs).toString(36);
        const fields =
          as === "field"
            ? ["espalier-written", token]
            : ["cookie", `a=b; espalier-written=${token}`];
        assert.equal(data(stand, fields), `false ${most}`);
      }
    });
  }

  it("takes a token that is none for a write of this moment, and no token for none", () => {
    assert.equal(data(replicated(), ["espalier-written", "-1"]), "false 0");
    assert.equal(data(replicated(), ["espalier-written", "ZZZZ"]), "false 0");
    assert.equal(data(replicated(), []), "false 5000");
  });

  it("lets a route say that a POST only reads, but no client", () => {
    const rule = {
      matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [], queries: [] }],
      backends: [{ service: "origin.shop" }],
    };
    const request = { set: [{ name: "espalier-data", value: "read" }], add: [], remove: [] };
    for (const [filters, written] of [
      [{ request }, false],
      [undefined, true],
    ] as const) {
      const routes = [
        {
          name: "all",
          listeners: ["http"],
          hostnames: ["q.example"],
          rules: [{ ...rule, ...(filters && { filters }) }],
        },
      ];
      const stand = replicated({}, routes);
      const met = stand.answered("us", {
        ...{ method: "POST", authority: "q.example", fields: ["espalier-data", "read"] },
      });
      assert.equal(met.field("espalier-written") !== undefined, written);
      assert.equal(stand.served[0]!.field("espalier-data"), undefined);
    }
  });

  for (const [what, epoch, primary, told] of [
    ["knows a newer epoch", 5, "us", 503],
    ["knows an older epoch and is not the primary", 3, "core", 503],
    ["knows an older epoch and is the primary all the same", 3, "us", 200],
    ["knows the same", 4, "us", 200],
  ] as const) {
    it(`${told === 200 ? "takes" : "refuses"} a write where the next gateway ${what}`, () => {
      const stand = new MeshStand(
        { edge: [{ kind: "sibling", at: "us" }], us: [{ kind: "local" }] },
        {
          service: { replication: REPLICATION },
          serviceOf: {
            us: { replication: { ...REPLICATION, epoch, primary: `${primary}.acme.mesh` } },
          },
        },
      );
      const met = stand.answered("edge", { method: "POST" });
      assert.equal(met.status, told);
      const asked = stand.arrivals.filter(({ port }) => port === undefined);
      assert.equal(asked[0]!.field("x-mesh-data"), "write");
      assert.equal(asked[0]!.field("x-mesh-epoch"), "4");
      if (told === 503) assert.match(met.field("proxy-status")!, /destination_unavailable/);
      if (told === 503) assert.equal(stand.served.length, 0);
      assert.equal("us.acme.mesh" as ClusterName, REPLICATION.primary);
    });
  }
});
