import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSnapshot } from "#model/snapshot.ts";
import { compileRoutes } from "#proxy/route/table.ts";
import { grpcGatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { must } from "#test/kit/mesh.ts";

interface Asked {
  readonly method?: string;
  readonly fields?: string[];
  readonly type?: string;
}

/** A table of rules (flow YAML, without backends); what a call finds is the place of its rule. */
function tableOf(...matches: string[]) {
  const rules = matches.map((text) => `{ ${text}backendRefs: [] }`);
  const table = compileRoutes(snapshotOf(grpcGatewayYaml(rules, {})));
  return (target: string, { method = "POST", fields = [], type }: Asked = {}) => {
    const found = table.match("default/edge/http", {
      method,
      target,
      authority: "shop.example",
      fields: ["content-type", type ?? "application/grpc", ...fields],
      body: -1,
      upgrade: undefined,
      takesTrailers: true,
    });
    if (found === undefined) return undefined;
    assert.ok(found.kind === "rule");
    return found.route.rules.indexOf(found.rule);
  };
}

const match = (method: string, headers = ""): string =>
  `matches: [{ ${method === "" ? "" : `method: { ${method} }, `}headers: [${headers}] }], `;

const PLACE = "default/edge/http";

describe("calls of gRPC", () => {
  it("are all that a GRPCRoute takes", () => {
    const find = tableOf("");
    assert.equal(find("/pack.Shop/Buy"), 0);
    assert.equal(find("/any/depth/of/path"), 0);
    assert.equal(find("/pack.Shop/Buy", { type: "Application/gRPC" }), 0);
    assert.equal(find("/pack.Shop/Buy", { type: "application/grpc-web-text+proto" }), 0);
    assert.equal(find("/pack.Shop/Buy", { type: "application/json" }), undefined);
    assert.equal(find("/pack.Shop/Buy", { method: "GET" }), undefined);
    assert.equal(find("a.example:443", { method: "CONNECT" }), undefined);
    assert.equal(find("*", { method: "OPTIONS" }), undefined);
  });

  it("go to a service and method, before a service, before expressions, before the rest", () => {
    const find = tableOf(
      "",
      match('type: RegularExpression, service: "pack[.].*"'),
      match("service: pack.Shop"),
      match("service: pack.Shop, method: Buy"),
    );
    assert.equal(find("/pack.Shop/Buy"), 3);
    assert.equal(find("/pack.Shop/Buy?x"), 3);
    assert.equal(find("/pack.Shop/BuyAll"), 2);
    assert.equal(find("/pack.Shops/Buy"), 1);
    assert.equal(find("/other.Shop/Buy"), 0);
    assert.equal(find("/pack.Shop/x/Buy"), 1);
    assert.equal(find("/pack.Shop"), 0);
  });

  it("go by the length of the service, then of the method, then by headers, then in order", () => {
    const expression = (service: string, method: string): string =>
      match(
        `type: RegularExpression, ${service === "" ? "" : `service: "${service}", `}method: "${method}"`,
      );
    const find = tableOf(
      expression("", "Buy|BuyEverythingThatThereIs"),
      match("method: Buy"),
      expression("p.*", ".*|that is long, but only a method's"),
      expression("pack.*", "B.*"),
      expression("pack.*", "Bu.*"),
      match('type: RegularExpression, service: "pack.*", method: "Bu.*"', "{ name: a, value: b }"),
      expression("pack.*", "Bu.*"),
    );
    assert.equal(find("/pack.Shop/Buy"), 4);
    assert.equal(find("/pack.Shop/Buy", { fields: ["a", "b"] }), 5);
    assert.equal(find("/pack.Shop/Buy", { fields: ["a", "c"] }), 4);
    assert.equal(find("/pack.Shop/Bring"), 3);
    assert.equal(find("/pack.Shop/Sell"), 2);
    assert.equal(find("/other/Buy"), 0);
    assert.equal(find("/other/Sell"), undefined);
  });

  it("are told apart by headers, and go on where none fits", () => {
    const find = tableOf(
      match("service: pack.Shop, method: Buy", "{ name: lane, value: fast }"),
      match(
        "service: pack.Shop",
        "{ name: lane, value: slow }, { name: v, type: RegularExpression, value: '[12]' }",
      ),
      match("service: pack.Shop", "{ name: lane, value: slow }"),
      match("method: Buy"),
    );
    assert.equal(find("/pack.Shop/Buy", { fields: ["lane", "fast"] }), 0);
    assert.equal(find("/pack.Shop/Buy", { fields: ["lane", "slow"] }), 2);
    assert.equal(find("/pack.Shop/Buy", { fields: ["lane", "slow", "v", "2"] }), 1);
    assert.equal(find("/pack.Shop/Buy"), 3);
    assert.equal(find("/pack.Shop/Sell"), undefined);
  });

  it("have each part covered whole by its expression", () => {
    const find = tableOf(match('type: RegularExpression, service: "a|b", method: "Get|Put"'));
    assert.equal(find("/a/Put"), 0);
    assert.equal(find("/b/Get"), 0);
    for (const path of ["/a/Gets", "/xb/Get", "/a", "/a/x/Put"])
      assert.equal(find(path), undefined);
  });

  it("are asked for by browsers first, where the rule has CORS", () => {
    const cors = "filters: [{ type: CORS, cors: { allowOrigins: ['*'] } }], ";
    const find = tableOf(
      match("service: pack.Shop"),
      `${match("service: pack.Shop", "{ name: a, value: b }")}${cors}`,
      match("method: Sell"),
    );
    const origin = ["origin", "https://a.example"];
    const announced = (method: string) => [...origin, "access-control-request-method", method];
    const asks = { method: "OPTIONS", type: "", fields: announced("POST") };
    assert.equal(find("/pack.Shop/Buy", asks), 1);
    assert.equal(find("/other/Sell", asks), undefined);
    const get = { ...asks, fields: announced("GET") };
    assert.equal(find("/pack.Shop/Buy", get), undefined);
    assert.equal(find("/pack.Shop/Buy", { method: "OPTIONS" }), undefined);
    assert.equal(find("/pack.Shop/Buy", { ...asks, fields: asks.fields.slice(2) }), undefined);
  });

  it("go by host, by age and by the alphabet as requests do", () => {
    const routeOf = (name: string, hosts: string, created = ""): string =>
      `---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute
metadata: { name: ${name}${created} }
spec: { parentRefs: [{ name: edge }], hostnames: [${hosts}], rules: [{ backendRefs: [] }] }\n`;
    const [gateway] = grpcGatewayYaml([], {}).split("---\n");
    const old = ", creationTimestamp: '2026-01-01T00:00:00Z'";
    const yaml = [
      routeOf("c", "'*.example', b.example"),
      routeOf("b", "'*.example'"),
      routeOf("a", "a.example"),
      routeOf("z", "a.example", old),
    ];
    const table = compileRoutes(snapshotOf([gateway, ...yaml].join("")));
    const find = (authority: string): string | undefined => {
      const fields = ["content-type", "application/grpc"];
      const head = { method: "POST", target: "/a/b", authority, fields, body: -1 };
      const found = table.match(PLACE, { ...head, upgrade: undefined, takesTrailers: true });
      return found?.kind === "rule" ? found.route.name : undefined;
    };
    assert.deepEqual(["a.example", "b.example", "x.example", "else"].map(find), [
      "default/z",
      "default/c",
      "default/b",
      undefined,
    ]);
  });

  it("are tried again for the statuses of their rule alone", () => {
    const rules = ["retry: { codes: [8, UNAVAILABLE], attempts: 1 }, ", "retry: {}, ", ""];
    const matches = rules.map((rule, i) => `{ ${match(`method: M${i}`)}${rule}backendRefs: [] }`);
    const table = compileRoutes(snapshotOf(grpcGatewayYaml(matches, {})));
    const retries = rules.map((_, i) => {
      const head = { method: "POST", target: `/s/M${i}`, authority: "a", body: -1 };
      const fields = ["content-type", "application/grpc"];
      const found = table.match(PLACE, {
        ...head,
        fields,
        upgrade: undefined,
        takesTrailers: true,
      });
      return found?.kind === "rule" ? found.retry : undefined;
    });
    const [both, usual, none] = retries.map((retry) => retry?.grpcStatuses);
    assert.deepEqual([[...both!], [...usual!], none], [[8, 14], [14], undefined]);
    assert.deepEqual([retries[0]!.statuses, retries[0]!.attempts], [undefined, 1]);
  });

  it("are refused in a snapshot whose path is none of a call", () => {
    const snapshot = snapshotOf(grpcGatewayYaml(["{ backendRefs: [] }"], {}));
    const said = (path: object) => {
      const matches = [{ path, grpc: true }];
      const routes = snapshot.routes.map((route) => ({
        ...route,
        rules: [{ matches, backends: [] }],
      }));
      return parseSnapshot({ ...snapshot, routes }, "test");
    };
    must(said({ type: "Exact", value: "/a/b" }));
    assert.ok(!said({ type: "Exact", value: "/a" }).ok);
    assert.ok(!said({ type: "RegularExpression", value: "/a/.*" }).ok);
  });
});
