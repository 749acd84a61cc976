import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { busPermissions } from "#control/authority/table.ts";
import { MemoryBroker } from "#discovery/bus/memory.ts";
import { ChildLinks } from "#discovery/sync/child_links.ts";
import { LEASE_MS } from "#discovery/sync/lease.ts";
import { encode } from "#discovery/sync/messages.ts";
import { ParentLink } from "#discovery/sync/parent_link.ts";
import { orderSubject } from "#discovery/sync/subjects.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { type Order, orderKey } from "#model/order.ts";

const CORE = "core.acme.mesh";
const DRAIN: Order = { kind: "drain", from: CORE, cluster: "eu.acme.mesh" };
const PIN: Order = { kind: "pin", from: CORE, service: "menu.shop", cluster: "eu.acme.mesh" };

function byKey(...orders: readonly Order[]): Map<string, Order> {
  return new Map(orders.map((order) => [orderKey(order), order]));
}

/** A parent and its child eu, on a bus of theirs. */
function pair() {
  const clock = new VirtualClock();
  const rng = seededRng(1);
  const broker = new MemoryBroker({ clock, rng });
  const ports = { clock, rng, epoch: "1-a" };
  const parentBus = broker.connect("core", busPermissions("self", ""));
  const childBus = broker.connect("eu", busPermissions("child", "eu"));
  const parent = new ChildLinks({
    ...ports,
    bus: parentBus,
    isChild: (label) => label === "eu",
    restored: new Map(),
    onChange: () => {},
  });
  let heard = 0;
  const child = (restoredOrders: readonly Order[] = []): ParentLink =>
    new ParentLink({
      ...ports,
      bus: childBus,
      label: "eu",
      restored: [],
      restoredOrders,
      isAbove: (cluster) => cluster === CORE,
      onChange: () => {},
      onOrders: () => heard++,
    });
  return { clock, broker, parentBus, childBus, parent, child, heard: () => heard };
}

describe("orders", () => {
  it("come down at once, change, and are taken back", () => {
    const { clock, parent, child, heard } = pair();
    const link = child();
    parent.setOrders("eu", byKey(DRAIN));
    clock.advance(3_000);
    assert.deepEqual(link.orders(), [DRAIN]);
    const before = heard();
    parent.setOrders("eu", byKey(DRAIN, PIN));
    clock.advance(25);
    assert.deepEqual([link.orders(), heard()], [[DRAIN, PIN], before + 1]);
    parent.setOrders("eu", byKey());
    clock.advance(25);
    assert.deepEqual(link.orders(), []);
  });

  it("are kept as long as the parent is away, and after a start alone", () => {
    const { clock, broker, parent, child } = pair();
    const link = child();
    parent.setOrders("eu", byKey(DRAIN));
    clock.advance(3_000);
    broker.link("eu").down = true;
    clock.advance(10 * LEASE_MS);
    assert.deepEqual(link.orders(), [DRAIN]);
    link.close(false);
    const alone = child([DRAIN, PIN]);
    clock.advance(10 * LEASE_MS);
    assert.deepEqual(alone.orders(), [DRAIN, PIN]);
    broker.link("eu").down = false;
    clock.advance(10_000);
    assert.deepEqual(alone.orders(), [DRAIN], "what was taken back meanwhile");
  });

  it("are followed only if they are well-formed, under their own key, and from above", () => {
    const { clock, parent, child } = pair();
    const link = child();
    const beside: Order = { ...DRAIN, from: "us.acme.mesh" };
    const below: Order = { ...DRAIN, from: "store-1.eu.acme.mesh" };
    const said = byKey(DRAIN, beside, below);
    said.set("pin/other", PIN);
    said.set("drain/core.acme.mesh/x", { ...DRAIN, cluster: "" });
    parent.setOrders("eu", said);
    clock.advance(10_000);
    assert.deepEqual(link.orders(), [DRAIN]);
  });

  it("do not come from below: no child may say any, to its parent or to its siblings", () => {
    const { clock, parent, child, childBus, parentBus } = pair();
    const link = child();
    clock.advance(3_000);
    const heard: string[] = [];
    parentBus.subscribe("mesh.v1.up.>", ({ subject }) => heard.push(subject));
    const forged = encode("snap", {
      e: "99-liar",
      s: 1,
      h: "0".repeat(16),
      i: 0,
      of: 1,
      u: [[orderKey(DRAIN), DRAIN]],
    });
    childBus.publish(orderSubject("eu", "snap"), forged);
    childBus.publish(orderSubject("us", "snap"), forged);
    childBus.publish("mesh.v1.up.eu.order.snap", forged);
    clock.advance(3_000);
    assert.deepEqual(link.orders(), []);
    const [state] = parent.children();
    assert.deepEqual(
      [...state!.facts],
      [],
      "what it says of orders is nothing that a parent reads",
    );
  });

  it("of one kind do not crowd out others, however many there are", () => {
    const { clock, parent, child } = pair();
    const link = child();
    const leases = Array.from({ length: 10_001 }, (_, i): Order => {
      return { kind: "lease", from: CORE, service: `s${i}.x`, limit: "all", rate: 1 };
    });
    parent.setOrders("eu", byKey(...leases));
    clock.advance(3_000);
    parent.setOrders("eu", byKey(...leases, DRAIN));
    clock.advance(3_000);
    const heard = Map.groupBy(link.orders(), ({ kind }) => kind);
    assert.equal(heard.get("lease")?.length, 10_000);
    assert.deepEqual(heard.get("drain"), [DRAIN]);
    parent.close();
    link.close(false);
  });
});
