import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MeshStand } from "#test/kit/mesh_stand.ts";

const ROUTE = {
  name: "all",
  listeners: ["http"],
  hostnames: ["shop.example"],
  rules: [
    {
      matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [], queries: [] }],
      backends: [{ service: "origin.shop" }],
      persistence: { type: "Header", name: "seat", permanent: false },
    },
  ],
};

/** An edge that has the service in two regions, each with two gateways and three endpoints. */
function twoRegions(): MeshStand {
  return new MeshStand(
    {
      edge: [
        { kind: "sibling", at: "eu", count: 2 },
        { kind: "sibling", at: "us", count: 2 },
      ],
      eu: [{ kind: "local", count: 3 }],
      us: [{ kind: "local", count: 3 }],
    },
    { routes: [ROUTE] },
  );
}

describe("a session across clusters", () => {
  const ask = (stand: MeshStand, seat?: string) => {
    const fields = seat === undefined ? [] : ["seat", seat];
    const met = stand.answered("edge", { authority: "shop.example", fields });
    return { ...met, by: met.field("x-served-by"), seat: met.field("seat") };
  };

  it("stays at the cluster and the endpoint that served it first", () => {
    const stand = twoRegions();
    const served = new Set<string | undefined>();
    for (let i = 0; i < 12; i++) {
      const first = ask(stand);
      served.add(first.by);
      for (let k = 0; k < 6; k++) {
        const again = ask(stand, first.seat);
        assert.equal(again.by, first.by);
        assert.equal(again.seat, undefined, "its token is still good");
      }
    }
    assert.ok(served.size > 2, "and others go elsewhere");
    assert.ok(stand.arrivals.every(({ field }) => field("x-mesh-session")?.length !== 0));
  });

  it("says nothing of it to endpoints or clients", () => {
    const stand = twoRegions();
    const { answer } = ask(stand, ask(stand).seat);
    assert.ok(!answer!.fields.some((name) => name.startsWith("x-mesh-")));
    assert.ok(stand.served.every(({ field }) => field("x-mesh-session") === undefined));
  });

  it("moves where its endpoint is out, and stays in its cluster", () => {
    const stand = twoRegions();
    const first = ask(stand);
    const [port, at] = first.by!.split("@");
    const { locales } = stand.tables(at!).services.values().next().value!.balancer;
    const gone = locales[0]!.endpoints.find(({ endpoint }) => endpoint.port === Number(port))!;
    gone.outlier = { ...gone.outlier, ejectedUntil: Number.POSITIVE_INFINITY };
    const moved = ask(stand, first.seat);
    assert.equal(moved.status, 200);
    assert.notEqual(moved.by, first.by);
    assert.equal(moved.by!.split("@")[1], at);
    assert.equal(ask(stand, moved.seat).by, moved.by);
  });

  it("moves where its cluster is gone, and does not fail", () => {
    const stand = twoRegions();
    const first = ask(stand);
    const at = first.by!.split("@")[1];
    stand.link = (_, to) => (to === at ? "connect_refused" : undefined);
    const moved = ask(stand, first.seat);
    assert.equal(moved.status, 200);
    assert.notEqual(moved.by!.split("@")[1], at);
    stand.link = () => undefined;
    assert.equal(ask(stand, moved.seat).by, moved.by, "and stays there");
  });

  it("stays at its endpoint also where the way there is another one of the same cluster's gateways", () => {
    const stand = twoRegions();
    const first = ask(stand);
    const [arrival] = stand.arrivals;
    assert.ok(arrival !== undefined);
    const { locales } = stand.tables("edge").services.values().next().value!.balancer;
    const at = first.by!.split("@")[1];
    const region = locales.find(({ cluster }) => cluster.startsWith(`${at}.`))!;
    for (const way of region.endpoints) {
      way.outlier = { ...way.outlier, ejectedUntil: Number.POSITIVE_INFINITY };
      assert.equal(ask(stand, first.seat).by, first.by);
      way.outlier = { ...way.outlier, ejectedUntil: 0 };
    }
  });
});
