import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSnapshot } from "#model/snapshot.ts";
import { type AskedRequest, askedOf, explain } from "#proxy/app/explain.ts";
import { buildTables } from "#proxy/app/tables.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { must } from "#test/kit/mesh.ts";

const SELF = "store-1.eu.acme.mesh";
const PRIMARY = "store-2.eu.acme.mesh";
const WALL = 1_790_000_000_000;

/** A service here and at the primary, 20 ms away; our own data is 2 s old. */
const SNAPSHOT = {
  ...{ revision: "1", mesh: "acme.mesh", cluster: SELF },
  listeners: [{ name: "http", address: "::", port: 80, protocol: "HTTP" }],
  routes: [
    {
      ...{ name: "all", listeners: ["http"], hostnames: [] },
      rules: [
        {
          matches: [{ path: { type: "PathPrefix", value: "/" } }],
          backends: [{ service: "menu.shop" }],
        },
        {
          matches: [{ path: { type: "PathPrefix", value: "/search" } }],
          filters: { request: { set: [{ name: "espalier-data", value: "read" }] } },
          backends: [{ service: "menu.shop" }],
        },
      ],
    },
  ],
  services: [
    {
      ...{ name: "menu.shop", port: 80, appProtocol: "http" },
      replication: {
        ...{ primary: PRIMARY, epoch: 1, replicas: [SELF, PRIMARY], maxStalenessMs: 5_000 },
      },
      policy: { places: { mustStayIn: "eu.acme.mesh" }, priority: { header: "x-class" } },
      locales: [
        {
          ...{ kind: "local", cluster: SELF, healthy: 1, stalenessMs: 2_000 },
          endpoints: [{ address: "127.0.0.1", port: 1 }],
        },
        {
          ...{ kind: "sibling", cluster: PRIMARY, healthy: 1, freshness: "stale", p50Ms: 1 },
          endpoints: [{ address: "127.0.0.1", port: 2 }],
        },
      ],
    },
  ],
};

function explained(change: Partial<AskedRequest> & { path?: string } = {}) {
  const snapshot = must(parseSnapshot(SNAPSHOT, "test"));
  const tables = buildTables(snapshot, undefined, new RequestStats(), 0);
  const { path = "/", ...rest } = change;
  const asked = { url: `http://any${path}`, method: "GET", fields: [], ...rest };
  const { route, services } = explain(
    tables,
    { asked, cluster: SELF, listener: "http", wall: WALL },
    0,
  );
  const [service] = services;
  const reasonOf = (cluster: string): string =>
    service!.locales.find((locale) => locale.cluster === cluster)!.reason;
  return { route, service: service!, here: reasonOf(SELF), primary: reasonOf(PRIMARY) };
}

describe("an explanation of a service with replicas", () => {
  it("sends a read to the replica and a write to the primary, and says so", () => {
    const read = explained();
    assert.equal(read.here, "takes traffic");
    assert.match(read.primary, /^dearer by /);
    assert.deepEqual(read.service.data, {
      ...{ write: false, maxStalenessMs: 5_000, primary: PRIMARY },
    });
    const write = explained({ method: "POST" });
    assert.equal(write.here, "not the primary");
    assert.match(write.primary, /^takes this request/);
    assert.equal(write.service.data?.write, true);
    assert.equal(write.service.fence, "eu.acme.mesh");
  });

  it("knows that a route says of a POST that it reads, and names the rule", () => {
    const { route, here } = explained({ method: "POST", path: "/search" });
    assert.deepEqual([route, here], ["HTTPRoute all, rule 2", "takes traffic"]);
    assert.equal(explained().route, "HTTPRoute all, rule 1");
  });

  it("sends a client that wrote to who has what it wrote", () => {
    assert.equal(explained({ writtenMs: 4_000 }).here, "takes traffic");
    const { here, primary } = explained({ writtenMs: 2_500 });
    assert.match(here, /^replica too old/);
    assert.match(primary, /^takes this request/);
  });

  it("tells the class of the request: its own, or what is asked about", () => {
    assert.equal(explained().service.priority, "default");
    assert.equal(explained({ fields: ["x-class", "critical"] }).service.priority, "critical");
    assert.equal(explained({ priority: "sheddable" }).service.priority, "sheddable");
  });

  it("never calls a place dearer whose cost it shows to be less", () => {
    const { locales } = explained().service;
    const [first, second] = locales;
    assert.equal(first!.cluster, SELF);
    assert.ok(second!.costMs > first!.costMs);
    assert.match(second!.reason, /being stale/);
    assert.match(second!.reason, new RegExp(`dearer by ${second!.costMs - first!.costMs} ms`));
  });
});

describe("a question to an admin port", () => {
  it("is refused where it makes no sense", () => {
    const said = (query: string) => {
      const asked = askedOf(new URLSearchParams(query));
      return asked.ok ? asked.value : asked.error;
    };
    assert.match(String(said("url=menu")), /give \?url=/);
    assert.match(String(said("url=http://a/&priority=high")), /priority=critical\|default/);
    assert.match(String(said("url=http://a/&written=soon")), /written=ms/);
    assert.match(String(said("url=http://a/&header=x")), /header=name:value/);
    assert.deepEqual(said("url=http://a/&priority=critical&written=800&header=X: y"), {
      ...{ url: "http://a/", method: "GET", fields: ["x", "y"] },
      ...{ priority: "critical", writtenMs: 800 },
    });
  });
});
