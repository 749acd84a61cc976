import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OperatorOrders, type Wish } from "#control/app/operator_orders.ts";
import { Store } from "#control/store/store.ts";
import { MemoryLogger } from "#kernel/log.ts";
import type { ClusterName, MeshName } from "#model/names.ts";
import type { Order } from "#model/order.ts";

const MESH = "acme.mesh" as MeshName;

/** A cluster with children eu and store-1, and one known service; what is ordered above it. */
function operatorOf(cluster: string, above: readonly Order[] = []) {
  const operator = new OperatorOrders(
    MESH,
    cluster as ClusterName,
    Store.open(":memory:", new MemoryLogger()),
  );
  const obey = (wish: Wish): string => {
    const obeyed = operator.obey(wish, {
      isChild: (label) => label === "eu" || label === "store-1",
      isKnown: (service) => service === "menu.shop",
      inForce: [...above, ...operator.all()],
    });
    if (obeyed.ok) return obeyed.value.changed ? "done" : "already";
    return `${obeyed.error.status} ${obeyed.error.reason}`;
  };
  return { operator, obey };
}

const drain = (cluster: string): Wish => ({ verb: "drain", cluster });
const undrain = (cluster: string): Wish => ({ verb: "undrain", cluster });

describe("what operators order", () => {
  it("is a cluster's own to say, and of those above it", () => {
    for (const asked of ["core.acme.mesh", "eu.acme.mesh", "store-1.eu.acme.mesh"]) {
      const { obey, operator } = operatorOf(asked);
      const store = "store-1.eu.acme.mesh";
      assert.equal(obey(undrain(store)), "already");
      assert.equal(obey(drain(store)), "done");
      assert.equal(obey(drain(store)), "already");
      assert.deepEqual(operator.all(), [{ kind: "drain", from: asked, cluster: store }]);
      assert.equal(obey(undrain(store)), "done");
      assert.deepEqual(operator.all(), []);
    }
  });

  for (const [asked, target, answer] of [
    ["eu.acme.mesh", "core.acme.mesh", /^409 core.acme.mesh is not below eu.acme.mesh/],
    ["eu.acme.mesh", "store-1.us.acme.mesh", /^409 store-1.us.acme.mesh is not below/],
    ["store-1.eu.acme.mesh", "eu.acme.mesh", /^409/],
    ["eu.acme.mesh", "store-9.eu.acme.mesh", /^404 eu.acme.mesh has no child store-9.eu.acme.mesh/],
    ["core.acme.mesh", "store-1.us.acme.mesh", /^404 core.acme.mesh has no child us.acme.mesh/],
    ["eu.acme.mesh", "eu.other.mesh", /^400 eu.other.mesh is no cluster of acme.mesh/],
    ["eu.acme.mesh", "acme.mesh", /^400/],
    ["eu.acme.mesh", "no name", /^400 "no name" is not a cluster name/],
  ] as const) {
    it(`is refused at ${asked} for ${target}`, () => {
      assert.match(operatorOf(asked).obey(drain(target)), answer);
      assert.match(operatorOf(asked).obey(undrain(target)), answer);
    });
  }

  it("does not seem undone while somebody above still says so", () => {
    const above: Order = { kind: "drain", from: "core.acme.mesh", cluster: "eu.acme.mesh" };
    const { obey, operator } = operatorOf("eu.acme.mesh", [above]);
    assert.equal(obey(drain("store-1.eu.acme.mesh")), "done");
    assert.match(
      obey(undrain("store-1.eu.acme.mesh")),
      /^409 .*stays drained: core.acme.mesh has drained eu.acme.mesh/,
    );
    assert.deepEqual(operator.all(), []);
  });

  it("pins one service to one cluster, the last word being the one that counts", () => {
    const { obey, operator } = operatorOf("eu.acme.mesh");
    const pin = (service: string, cluster: string): string =>
      obey({ verb: "pin", service, cluster });
    assert.match(pin("till.shop", "eu.acme.mesh"), /^404 no service till.shop/);
    assert.match(pin("menu.shop", "eu.other.mesh"), /^400/);
    assert.match(pin("a.b.c", "eu.acme.mesh"), /^400/);
    assert.equal(pin("menu.shop", "us.acme.mesh"), "done");
    assert.equal(pin("menu.shop", "us.acme.mesh"), "already");
    assert.equal(pin("menu.shop", "core.acme.mesh"), "done");
    const from = "eu.acme.mesh";
    const kept = [{ kind: "pin", from, service: "menu.shop", cluster: "core.acme.mesh" }];
    assert.deepEqual(operator.all(), kept);
    assert.equal(obey({ verb: "unpin", service: "menu.shop" }), "done");
    assert.equal(obey({ verb: "unpin", service: "menu.shop" }), "already");
  });
});
