import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName, MeshName, ServiceName } from "#model/names.ts";
import { HOPS_MAX, readHop, stripHop, writeHop } from "#proxy/authorize/hop.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";

const MESH = "acme.mesh" as MeshName;
const SELF = "eu.acme.mesh" as ClusterName;

function gateway(cluster: string): Peer {
  const id = `spiffe://${cluster}/mesh/gateway`;
  return { kind: "gateway", address: "1.2.3.4", id, cluster: cluster as ClusterName };
}

function workload(id: string): Peer {
  return { kind: "workload", address: "1.2.3.4", id, cluster: SELF };
}

const caller = "spiffe://store-1.eu.acme.mesh/ns/shop/sa/till";
const from = gateway("store-1.eu.acme.mesh");
const fieldsOf = (more: Fields): Fields => ["x-mesh-path", "store-1.eu.acme.mesh", ...more];

describe("hop fields", () => {
  it("removes all of them from whoever may not send them", () => {
    const fields = [
      "x-mesh-service",
      "a.b",
      "x-one",
      "1",
      "x-mesh-anything",
      "2",
      "x-mesh-path",
      "x",
    ];
    const hop = readHop(fields, anonymous("1.2.3.4"), SELF, MESH);
    assert.deepEqual(fields, ["x-one", "1"]);
    assert.ok(hop.ok);
    assert.deepEqual([hop.value.service, hop.value.path, hop.value.caller], [undefined, [], ""]);
  });

  it("believes a gateway, and signs its own name under the caller", () => {
    const fields = fieldsOf([
      ...["x-mesh-service", "menu.shop", "x-mesh-deadline", "1480", "x-mesh-retries", "2"],
      ...["x-mesh-priority", "sheddable", "x-mesh-caller", caller, "x-kept", "1"],
      ...["x-mesh-avoid", "store-2.eu.acme.mesh,us.acme.mesh"],
      ...["x-mesh-data", "write", "x-mesh-epoch", "7", "x-mesh-debug", "route"],
      ...["x-mesh-session", "0123456789abcdef-0123456789abcdef"],
    ]);
    const hop = readHop(fields, from, SELF, MESH);
    assert.deepEqual(hop, {
      ok: true,
      value: {
        service: "menu.shop",
        within: undefined,
        path: ["store-1.eu.acme.mesh"],
        avoid: ["store-2.eu.acme.mesh", "us.acme.mesh"],
        deadlineMs: 1480,
        retries: 2,
        priority: "sheddable",
        caller: `${caller},spiffe://store-1.eu.acme.mesh/mesh/gateway`,
        data: "write",
        epoch: 7,
        session: "0123456789abcdef-0123456789abcdef",
        debug: true,
      },
    });
    assert.deepEqual(fields, ["x-kept", "1"]);
  });

  it("takes a workload's own identity for the caller, whatever it says", () => {
    const id = "spiffe://eu.acme.mesh/ns/shop/sa/till";
    const fields = [
      "x-mesh-caller",
      "spiffe://core.acme.mesh/ns/a/sa/b",
      "x-mesh-service",
      "menu.shop",
      "x-mesh-avoid",
      "core.acme.mesh",
    ];
    const hop = readHop(fields, workload(id), SELF, MESH);
    assert.ok(hop.ok);
    assert.deepEqual([hop.value.caller, hop.value.service, hop.value.avoid], [id, "menu.shop", []]);
    assert.deepEqual(fields, []);
  });

  const kindOf = (fields: Fields, peer: Peer): string => {
    const hop = readHop(fields, peer, SELF, MESH);
    return hop.ok ? "ok" : hop.error.kind;
  };

  it("refuses a gateway that is not the last of its path", () => {
    assert.equal(kindOf(["x-mesh-path", "store-2.eu.acme.mesh"], from), "forbidden");
    assert.equal(kindOf(["x-mesh-service", "menu.shop"], from), "forbidden", "no path at all");
  });

  for (const [who, peer, whose, verdict] of [
    ["a child for itself", "store-1.eu.acme.mesh", "store-1.eu.acme.mesh", "ok"],
    ["a child for its sibling", "store-1.eu.acme.mesh", "store-2.eu.acme.mesh", "forbidden"],
    ["a child for us", "store-1.eu.acme.mesh", "eu.acme.mesh", "forbidden"],
    ["a child for the core", "store-1.eu.acme.mesh", "core.acme.mesh", "forbidden"],
    ["a child for a look-alike", "store-1.eu.acme.mesh", "x-store-1.eu.acme.mesh", "forbidden"],
    ["a sibling for its own child", "us.acme.mesh", "store-1.us.acme.mesh", "ok"],
    ["a sibling for our child", "us.acme.mesh", "store-1.eu.acme.mesh", "forbidden"],
    ["the core for another region", "core.acme.mesh", "store-1.us.acme.mesh", "ok"],
    ["the core for our own", "core.acme.mesh", "store-1.eu.acme.mesh", "forbidden"],
    ["the core for another mesh", "core.acme.mesh", "core.other.mesh", "forbidden"],
  ] as const) {
    it(`lets ${who} speak: ${verdict}`, () => {
      const fields = ["x-mesh-path", peer, "x-mesh-caller", `spiffe://${whose}/ns/a/sa/b`];
      assert.equal(kindOf(fields, gateway(peer)), verdict);
    });
  }

  for (const bad of [
    ["x-mesh-service", "not a service"],
    ["x-mesh-within", "nolabels"],
    ["x-mesh-deadline", "-1"],
    ["x-mesh-deadline", "1e3"],
    ["x-mesh-retries", ""],
    ["x-mesh-data", "read"],
    ["x-mesh-epoch", "-1"],
    ["x-mesh-session", "0123456789ABCDEF"],
    ["x-mesh-session", `${"0123456789abcdef-".repeat(8)}0123456789abcdef`],
    ["x-mesh-path", "UPPER.case"],
    ["x-mesh-avoid", "us.acme.mesh,"],
    ["x-mesh-caller", "x".repeat(2_000)],
    ["x-mesh-service", "a.b", "x-mesh-service", "c.d"],
  ]) {
    it(`refuses ${JSON.stringify(bad).slice(0, 50)} from a gateway`, () => {
      const fields = bad[0] === "x-mesh-path" ? bad : fieldsOf(bad);
      assert.equal(kindOf([...fields], from), "bad_request");
    });
  }

  it("refuses what has passed too many clusters", () => {
    const path = [...Array(HOPS_MAX - 1).fill("us.acme.mesh"), "store-1.eu.acme.mesh"].join(",");
    assert.equal(kindOf(["x-mesh-path", path], from), "loop");
  });

  it("keeps no more clusters to be avoided than may be passed", () => {
    const avoid = Array.from({ length: 1_000 }, (_, i) => `n${i}.acme.mesh`).join(",");
    const hop = readHop(fieldsOf(["x-mesh-avoid", avoid]), from, SELF, MESH);
    assert.equal(hop.ok && hop.value.avoid.length, HOPS_MAX);
  });

  it("writes what it reads", () => {
    const fields: Fields = [];
    writeHop(fields, {
      service: "menu.shop" as ServiceName,
      within: "us.acme.mesh" as ClusterName,
      path: ["store-1.eu.acme.mesh" as ClusterName],
      avoid: ["store-2.eu.acme.mesh" as ClusterName],
      deadlineMs: 900,
      retries: 1,
      priority: "critical",
      caller,
      data: 250,
      epoch: 3,
      session: "",
      debug: true,
    });
    const hop = readHop(fields, from, SELF, MESH);
    assert.ok(hop.ok);
    const { within, deadlineMs, retries, data, epoch, session, debug } = hop.value;
    assert.deepEqual([within, deadlineMs, retries], ["us.acme.mesh", 900, 1]);
    assert.deepEqual([data, epoch, session, debug], [250, 3, "", true]);
  });

  it("takes every mesh field out of an answer and tells of a refusal", () => {
    const fields = ["x-mesh-refused", "no_candidate", "x-mesh-x", "1", "x-kept", "2"];
    fields.push("x-mesh-retries", "1", "x-mesh-session", "0123456789abcdef", "x-mesh-debug", "way");
    assert.deepEqual(stripHop(fields), {
      ...{ refused: "no_candidate", failed: undefined, retries: 1 },
      ...{ session: "0123456789abcdef", trace: "way" },
    });
    assert.deepEqual(fields, ["x-kept", "2"]);
  });
});
