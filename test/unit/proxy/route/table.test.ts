import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { chooseBackend } from "#proxy/route/backend.ts";
import { compileRoutes } from "#proxy/route/table.ts";
import { must } from "#test/kit/mesh.ts";

function tableOf(
  routes: ReadonlyArray<{ name: string; hostnames?: string[]; paths?: Array<[string, string]> }>,
  listenerHost?: string,
) {
  const snapshot = must(
    parseSnapshot(
      {
        revision: "1",
        mesh: "acme.mesh",
        cluster: "core.acme.mesh",
        listeners: [
          {
            name: "http",
            address: "::",
            port: 80,
            protocol: "HTTP",
            ...(listenerHost === undefined ? {} : { hostname: listenerHost }),
          },
          { name: "other", address: "::", port: 81, protocol: "HTTP" },
        ],
        routes: routes.map(({ name, hostnames = [], paths = [["PathPrefix", "/"]] }) => ({
          name,
          listeners: ["http"],
          hostnames,
          rules: [
            {
              matches: paths.map(([type, value]) => ({ path: { type, value } })),
              backends: [{ service: `${name}.shop` }],
            },
          ],
        })),
        services: [],
      },
      "test",
    ),
  );
  const table = compileRoutes(snapshot);
  return (authority: string, target: string, listener = "http"): string | undefined => {
    const head = {
      method: "GET",
      target,
      authority,
      fields: [],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    };
    const match = table.match(listener, head);
    if (match === undefined) return undefined;
    return match.kind === "rule" ? match.route.name : `${match.service} within ${match.within}`;
  };
}

describe("routes", () => {
  it("matches the exact host before the wildcard before none", () => {
    const match = tableOf([
      { name: "any" },
      { name: "wild", hostnames: ["*.example.org"] },
      { name: "deep", hostnames: ["*.a.example.org"] },
      { name: "exact", hostnames: ["shop.example.org"] },
    ]);
    assert.equal(match("shop.example.org:8080", "/"), "exact");
    assert.equal(match("x.example.org", "/"), "wild");
    assert.equal(match("x.a.example.org", "/"), "deep");
    assert.equal(match("y.x.example.org", "/"), "wild");
    assert.equal(match("example.org", "/"), "any");
    assert.equal(match("xexample.org", "/"), "any");
  });

  it("matches paths by their elements: exact, then the longest prefix", () => {
    const match = tableOf([
      { name: "root" },
      { name: "menu", paths: [["PathPrefix", "/menu"]] },
      { name: "card", paths: [["PathPrefix", "/menu/card/"]] },
      { name: "exact", paths: [["Exact", "/menu/card"]] },
    ]);
    assert.equal(match("a", "/menu"), "menu");
    assert.equal(match("a", "/menu/?x=/menu/card"), "menu");
    assert.equal(match("a", "/menux"), "root");
    assert.equal(match("a", "/menu/card"), "exact");
    assert.equal(match("a", "/menu/card/1"), "card");
    assert.equal(match("a", "/"), "root");
  });

  it("gives equal matches to the route that came first", () => {
    assert.equal(tableOf([{ name: "one" }, { name: "two" }])("a", "/"), "one");
  });

  it("keeps to the listener and its host", () => {
    const match = tableOf(
      [{ name: "any" }, { name: "else", hostnames: ["b.org"] }],
      "*.example.org",
    );
    assert.equal(match("a.example.org", "/"), "any");
    assert.equal(match("b.org", "/"), undefined);
    assert.equal(match("a.example.org", "/", "other"), undefined);
  });

  it("understands the mesh's own addresses where no route names the host", () => {
    const match = tableOf([{ name: "any" }, { name: "mine", hostnames: ["a.b.svc.acme.mesh"] }]);
    assert.equal(match("menu.shop.svc.acme.mesh", "/"), "menu.shop within undefined");
    assert.equal(match("menu.shop.svc.eu.acme.mesh:80", "/x"), "menu.shop within eu.acme.mesh");
    assert.equal(match("menu.shop.svc.acme.meshx", "/"), "any");
    assert.equal(match("a.b.svc.acme.mesh", "/"), "mine");
  });

  it("shares requests among backends by weight", () => {
    const backends = [
      { service: "a.shop", weight: 3 },
      { service: "b.shop", weight: 1 },
      { service: "c.shop", weight: 0 },
    ];
    const rng = seededRng(5);
    const counts: Record<string, number> = {};
    for (let i = 0; i < 4_000; i++) {
      const { service } = chooseBackend(backends, 4, rng)!;
      counts[service] = (counts[service] ?? 0) + 1;
    }
    assert.ok(Math.abs(counts["a.shop"]! - 3_000) < 120, JSON.stringify(counts));
    assert.equal(counts["c.shop"], undefined);
    assert.equal(chooseBackend([], 0, rng), undefined);
  });
});
