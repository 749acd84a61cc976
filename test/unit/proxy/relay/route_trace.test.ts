import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MeshStand } from "#test/kit/mesh_stand.ts";

const ASK = ["espalier-debug", "route"];

describe("the way of a request", () => {
  const stand = (from: string[]) =>
    new MeshStand(
      {
        "a.b": [{ kind: "parent", at: "b" }],
        b: [
          { kind: "local", count: 2 },
          { kind: "sibling", at: "c" },
        ],
        c: [{ kind: "local" }],
      },
      { debugFrom: from },
    );

  it("is told by each gateway to a client that may ask", () => {
    const met = stand(["127.0.0.1"]).answered("a.b", { fields: ASK });
    const [first, second] = met.field("espalier-route")!.split(" | ");
    assert.match(
      first!,
      /^a\.b\.acme\.mesh origin\.shop: parent b\.acme\.mesh cost=\S+ inflight=0 /,
    );
    assert.match(first!, /weight=1 \(.*\); tried b\.acme\.mesh 127\.0\.0\.1:1010=200 in \d+ ms$/);
    assert.match(
      second!,
      /^b\.acme\.mesh origin\.shop: .*local b\.acme\.mesh .*sibling c\.acme\.mesh /,
    );
    assert.match(second!, /tried b\.acme\.mesh 127\.0\.0\.1:101\d=200 in 2 ms$/);
    assert.equal(met.field("x-mesh-debug"), undefined);
  });

  it("has all its tries in it, and is told of a failure as well", () => {
    const mesh = stand(["127.0.0.1"]);
    mesh.origin = () => 503;
    const met = mesh.answered("b", { fields: ASK });
    assert.equal(met.status, 503);
    assert.equal(met.field("espalier-route")!.match(/=503 in/g)!.length, 4);
    mesh.origin = () => "closed_early";
    const post = mesh.answered("b", { method: "POST", fields: ASK });
    assert.match(post.field("espalier-route")!, /=closed_early in/);
    assert.match(post.field("proxy-status")!, /connection_terminated/);
  });

  it("is no longer than 4 kB", () => {
    const many = Array.from({ length: 100 }, (_, i) => ({
      kind: "sibling" as const,
      at: "b",
      cluster: `c${i}.acme.mesh`,
    }));
    const mesh = new MeshStand(
      { "a.b": [{ kind: "parent", at: "b" }], b: [{ kind: "local" }, ...(many as never[])] },
      { debugFrom: ["127.0.0.1"] },
    );
    const said = mesh.answered("a.b", { fields: ASK }).field("espalier-route")!;
    assert.ok(said.length <= 4_096, String(said.length));
  });

  for (const [who, from, fields] of [
    ["who may not ask", ["10.0.0.0/8"], ASK],
    ["who asks for something else", ["127.0.0.1"], ["espalier-debug", "all"]],
    ["who does not ask", ["127.0.0.1"], []],
    ["anybody where nobody may", [], ASK],
    ["who says to be a gateway", ["10.0.0.0/8"], ["x-mesh-debug", "route"]],
  ] as const) {
    it(`is not told to ${who}`, () => {
      const mesh = stand([...from]);
      assert.equal(
        mesh.answered("a.b", { fields: [...fields] }).field("espalier-route"),
        undefined,
      );
      assert.equal(mesh.arrivals[0]!.field("x-mesh-debug"), undefined);
    });
  }
});
