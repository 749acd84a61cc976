import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MESH } from "#test/kit/mesh.ts";
import { MeshStand } from "#test/kit/mesh_stand.ts";

/** A store, its region with an endpoint of its own, the core, and another region; all know the same policy. */
function tree(places: object): MeshStand {
  return new MeshStand(
    {
      "s.eu": [{ kind: "local" }, { kind: "parent", at: "eu" }],
      eu: [{ kind: "local" }, { kind: "child", at: "s.eu" }, { kind: "parent", at: "core" }],
      core: [
        { kind: "child", at: "eu" },
        { kind: "child", at: "us" },
      ],
      us: [{ kind: "local" }, { kind: "parent", at: "core" }],
    },
    { service: { policy: { places } } },
  );
}

const share = (stand: MeshStand, at: string): number =>
  stand.served.filter((one) => one.at === at).length / stand.served.length;

describe("what a policy says of places", () => {
  it("is told on, so that a request is split once and not at every gateway", () => {
    const stand = tree({
      split: [
        { cluster: `us.${MESH}`, weight: 1 },
        { cluster: `s.eu.${MESH}`, weight: 1 },
      ],
    });
    for (let i = 0; i < 400; i++) stand.answered("s.eu");
    assert.ok(Math.abs(share(stand, "us") - 0.5) < 0.1, `${share(stand, "us")} at us`);
    assert.ok(Math.abs(share(stand, "s.eu") - 0.5) < 0.1, `${share(stand, "s.eu")} in the store`);
    const atCore = stand.arrivals.find(({ at }) => at === "core")!;
    assert.equal(atCore.field("x-mesh-within"), `us.${MESH}`);
  });

  it("lets a pin that is gone be served as if there were none", () => {
    const stand = tree({ pin: `us.${MESH}` });
    assert.equal(stand.answered("s.eu").status, 200);
    assert.deepEqual(
      stand.served.map(({ at }) => at),
      ["us"],
    );
    stand.link = (_, to) => (to === "us" ? "connect_refused" : undefined);
    assert.equal(stand.answered("s.eu").status, 200);
    assert.equal(stand.served.at(-1)?.at, "s.eu");
  });

  it("fails rather than to leave the fence", () => {
    const stand = tree({ mustStayIn: `us.${MESH}` });
    assert.equal(stand.answered("s.eu").status, 200);
    assert.deepEqual(
      stand.served.map(({ at }) => at),
      ["us"],
    );
    stand.link = (_, to) => (to === "us" ? "connect_refused" : undefined);
    assert.equal(stand.answered("s.eu").status, 503);
    assert.equal(stand.served.length, 1);
  });
});
