import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ControlService } from "#control/app/control_service.ts";
import { busPermissions } from "#control/authority/table.ts";
import { parseResources } from "#control/config/parse.ts";
import { Store } from "#control/store/store.ts";
import { MemoryBroker } from "#discovery/bus/memory.ts";
import { encode } from "#discovery/sync/messages.ts";
import { Owner } from "#discovery/sync/owner.ts";
import { factSubject, orderSubject } from "#discovery/sync/subjects.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { Summary } from "#model/summary.ts";
import { cluster, MESH, must } from "#test/kit/mesh.ts";

const SELF = cluster("core");
/** How long this parent takes to compile: then it waits for ten times that. */
const COMPILE_MS = 500;
const { resources } = parseResources(
  `apiVersion: espalier.dev/v1alpha1\nkind: Cluster\nmetadata: { name: ${SELF} }\nspec: { mesh: ${MESH} }\n`,
  "c.yaml",
);

describe("a parent that takes long to compile", () => {
  it("passes a drain on at once, while it waits with everything else", () => {
    const time = new VirtualClock();
    let spent: Millis = 0;
    const clock: Clock = {
      now: () => (time.now() + spent) as Millis,
      wall: () => time.wall(),
      after: (ms, fn) => time.after(ms, fn),
      every: (ms, fn) => time.every(ms, fn),
    };
    const rng = seededRng(1);
    const broker = new MemoryBroker({ clock: time, rng });
    const log = new MemoryLogger();
    const control = new ControlService({
      ...{ mesh: MESH, cluster: SELF, spec: resources.clusters[0]!.spec, resources },
      ...{ clock, rng, log, store: Store.open(":memory:", log), boot: "test" },
      bus: broker.connect("core", busPermissions("self", "")),
    });
    let compiled = 0;
    control.hub.subscribe("g", "gateway", () => {
      compiled++;
      spent += COMPILE_MS;
    });
    const eu = broker.connect("eu", busPermissions("child", "eu"));
    const orders: string[] = [];
    eu.subscribe(orderSubject("eu", "*"), ({ data }) => orders.push(Buffer.from(data).toString()));
    control.registerChild({ label: "eu", tiers: 1 });
    const owner = new Owner<Summary>("1-a");
    const say = (healthy: number): void => {
      const gateways = [{ address: "10.0.0.1", port: 1 }];
      const said: Summary = { gateways, healthy, total: 2, port: 80, appProtocol: "http" };
      owner.become(new Map([["menu.shop", said]]));
      owner.flush();
      for (const part of owner.snapshot())
        eu.publish(factSubject("eu", "snap"), encode("snap", part));
    };
    say(2);
    time.advance(1_000);
    say(1);
    time.advance(COMPILE_MS);
    const before = compiled;
    assert.equal(control.catalog.children[0]?.facts.get("menu.shop")?.healthy, 2, "it still waits");

    must(control.obey({ verb: "drain", cluster: cluster("eu") }));
    assert.equal(compiled, before + 1, "its own proxies know in the same turn");
    time.advance(50);
    assert.ok(
      orders.some((text) => text.includes('"drain"')),
      orders.join("\n"),
    );
    assert.equal(control.catalog.children[0]?.facts.get("menu.shop")?.healthy, 2, "it waits on");
    time.advance(10 * COMPILE_MS);
    assert.equal(control.catalog.children[0]?.facts.get("menu.shop")?.healthy, 1);
    control.close();
  });
});
