import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { EVERY_CALL_FIELD, grpcGatewayYaml, problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { ROOT } from "#test/kit/processes.ts";

const TO_A = "backendRefs: [{ name: a, port: 80 }]";
const withRules = (...rules: string[]): string => grpcGatewayYaml(rules, { a: [1] });

describe("a GRPCRoute", () => {
  it("means what it says, to the last field", () => {
    const [route] = snapshotOf(EVERY_CALL_FIELD).routes;
    assert.deepEqual([route!.name, route!.listeners], ["default/all", ["default/edge/http"]]);
    const [one, two] = route!.rules;
    const edits = {
      set: [{ name: "a", value: "b" }],
      add: [{ name: "c", value: "d" }],
      remove: ["e"],
    };
    const call = { headers: [], queries: [], grpc: true };
    const exact = { type: "Exact", name: "h", value: "v" };
    const lane = { type: "RegularExpression", name: "lane", value: "a|b" };
    const pattern = (value: string) => ({ type: "RegularExpression", value });
    assert.deepEqual(one, {
      matches: [
        { ...call, path: { type: "Exact", value: "/pack.Shop/Buy" }, headers: [exact] },
        { ...call, path: { type: "PathPrefix", value: "/pack.Shop" } },
        { ...call, path: pattern("/(?:.+)/(?:Buy)") },
        { ...call, path: pattern("/(?:pack[.].+)/(?:Get.*)") },
        { ...call, path: { type: "PathPrefix", value: "/" }, headers: [lane] },
      ],
      filters: {
        request: edits,
        answer: edits,
        cors: {
          allowOrigins: ["*"],
          allowCredentials: false,
          allowMethods: [],
          allowHeaders: ["x-grpc-web"],
          exposeHeaders: ["grpc-status"],
          maxAge: 5,
        },
        mirrors: [
          { service: "a.default", share: 0.05 },
          { service: "a.default", share: 0.01 },
        ],
      },
      backends: [{ service: "a.default", weight: 3, request: edits, answer: edits }],
      requestTimeoutMs: 2_000,
      backendTimeoutMs: 1_000,
      persistence: { type: "Header", name: "s", permanent: false },
      retry: { statuses: [], grpcStatuses: [14, 8, 8], attempts: 1, backoffMs: 1_000 },
    });
    assert.deepEqual(two, {
      matches: [{ ...call, path: { type: "PathPrefix", value: "/" } }],
      backends: [{ service: "a.default", weight: 1 }],
      retry: { statuses: [], grpcStatuses: [14] },
    });
  });

  const mirror = "requestMirror: { backendRef: { name: a, port: 80 } }";
  const edit = "{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [x] } }";
  const BAD: ReadonlyArray<readonly [string, string, RegExp]> = [
    [
      "a method match that says nothing",
      `{ matches: [{ method: {} }], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.matches\[0\]\.method: needs service, method, or both$/,
    ],
    [
      "a type that there is not",
      `{ matches: [{ method: { type: PathPrefix, service: a } }], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.matches\[0\]\.method\.type: /,
    ],
    [
      "a service with a slash",
      `{ matches: [{ method: { service: /a.B } }], ${TO_A} }`,
      /^f\.yaml:14: .*method\.service: must be the name of a service such as package\.Service$/,
    ],
    [
      "an empty service",
      `{ matches: [{ method: { service: "", method: B } }], ${TO_A} }`,
      /method\.service: must be the name of a service/,
    ],
    [
      "a method with a dot",
      `{ matches: [{ method: { method: a.B } }], ${TO_A} }`,
      /^f\.yaml:14: .*method\.method: must be the name of a method$/,
    ],
    [
      "a broken expression",
      `{ matches: [{ method: { type: RegularExpression, service: "(" } }], ${TO_A} }`,
      /^f\.yaml:14: .*method\.service: .*missing closing \)/,
    ],
    [
      "an expression that is whole only with its neighbour",
      `{ matches: [{ method: { type: RegularExpression, service: "a)/(?:b" } }], ${TO_A} }`,
      /method\.service: /,
    ],
    [
      "a service's expression with a slash between groups",
      `{ matches: [{ method: { type: RegularExpression, service: "(a)/(b)" } }], ${TO_A} }`,
      /^f\.yaml:14: .*method\.service: no service has a slash$/,
    ],
    [
      "two expressions that are too long together",
      `{ matches: [{ method: { type: RegularExpression, service: "${"a".repeat(600)}",
          method: "${"b".repeat(600)}" } }], ${TO_A} }`,
      /^f\.yaml:14: .*\.method: service and method together: longer than 1024 characters$/,
    ],
    [
      "a path",
      `{ matches: [{ path: { value: /a } }], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.matches\[0\]\.path: unknown field/,
    ],
    [
      "query parameters",
      `{ matches: [{ queryParams: [] }], ${TO_A} }`,
      /matches\[0\]\.queryParams: unknown field/,
    ],
    [
      "a header asked for twice",
      `{ matches: [{ headers: [{ name: a, value: b }, { name: A, value: c }] }], ${TO_A} }`,
      /^f\.yaml:14: .*headers\[1\]\.name: a second a$/,
    ],
    [
      "a rewrite",
      `{ filters: [{ type: URLRewrite, urlRewrite: { hostname: a } }], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.filters\[0\]\.type: /,
    ],
    ["a redirect", "{ filters: [{ type: RequestRedirect, requestRedirect: {} }] }", /filters\[0\]/],
    [
      "a filter that stands twice",
      `{ filters: [${edit}, ${edit}], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.filters\[1\]\.type: a second RequestHeaderModifier$/,
    ],
    [
      "a filter that stands twice at a backend",
      `{ backendRefs: [{ name: a, port: 80, filters: [${edit}, ${edit}] }] }`,
      /backendRefs\[0\]\.filters\[1\]\.type: a second RequestHeaderModifier$/,
    ],
    [
      "a mirror at a backend",
      `{ backendRefs: [{ name: a, port: 80, filters: [{ type: RequestMirror, ${mirror} }] }] }`,
      /backendRefs\[0\]\.filters\[0\]\.type: /,
    ],
    [
      "a mirror of percent and fraction",
      `{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 }, percent: 1,
          fraction: { numerator: 1 } } }], ${TO_A} }`,
      /give percent or fraction, not both/,
    ],
    [
      "a status of HTTP",
      `{ retry: { codes: [503] }, ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.retry\.codes\[0\]: must be a status of gRPC such as UNAVAILABLE, or its number/,
    ],
    ["no status", `{ retry: { codes: [] }, ${TO_A} }`, /retry\.codes: needs a status$/],
    ["success as a failure", `{ retry: { codes: [OK] }, ${TO_A} }`, /codes\[0\]: must be a status/],
    [
      "an unknown status",
      `{ retry: { codes: [unavailable] }, ${TO_A} }`,
      /codes\[0\]: must be a st/,
    ],
    ["number 0", `{ retry: { codes: [0] }, ${TO_A} }`, /codes\[0\]: must be a status/],
    [
      "a backend that nobody defines",
      "{ backendRefs: [{ name: gone, port: 80 }] }",
      /^f\.yaml:14: spec\.rules\[0\]\.backendRefs\[0\]\.name: no Service gone\.default/,
    ],
    [
      "a mirror that nobody defines",
      `{ filters: [{ type: RequestMirror, ${mirror.replace("name: a", "name: gone")} }], ${TO_A} }`,
      /filters\[0\]\.requestMirror\.backendRef\.name: no Service gone\.default/,
    ],
    [
      "a port that the service does not have",
      "{ backendRefs: [{ name: a, port: 81 }] }",
      /backendRefs\[0\]\.port: Service a\.default has no port 81; its port is 80/,
    ],
    [
      "more matches than a rule may have",
      `{ matches: [${Array(65).fill("{ method: { method: A } }").join(", ")}], ${TO_A} }`,
      /^f\.yaml:14: spec\.rules\[0\]\.matches: /,
    ],
  ];
  for (const [what, rule, expected] of BAD) {
    it(`is refused for ${what}`, () => {
      const found = problemsOf(withRules(rule));
      assert.ok(
        found.some((line) => expected.test(line)),
        found.join("\n") || "nothing was refused",
      );
    });
  }

  it("is refused for rules that do not go together", () => {
    const named = `{ name: one, ${TO_A} }`;
    const twice = problemsOf(withRules(named, named));
    assert.deepEqual(twice, [`f.yaml:15: spec.rules[1].name: "one" is taken`]);
    const matches = Array(43).fill("{ method: { method: A } }").join(", ");
    const many = problemsOf(withRules(...Array(3).fill(`{ matches: [${matches}], ${TO_A} }`)));
    assert.deepEqual(many, ["f.yaml:13: spec.rules: 129 matches; a route may have 128"]);
    const rules = problemsOf(withRules(...Array(17).fill(`{ ${TO_A} }`)));
    assert.match(rules.join(), /^f\.yaml:13: spec\.rules: /);
  });

  it("needs services that speak HTTP/2, and a listener for requests", () => {
    const yaml = withRules(`{ filters: [{ type: RequestMirror, ${mirror} }], ${TO_A} }`);
    const wrong = "GRPCRoute needs appProtocol grpc; Service a.default has http";
    assert.deepEqual(problemsOf(yaml.replace("appProtocol: grpc", "appProtocol: http")), [
      `f.yaml:14: spec.rules[0].backendRefs[0].name: ${wrong}`,
      `f.yaml:14: spec.rules[0].filters[0].requestMirror.backendRef.name: ${wrong}`,
    ]);
    assert.deepEqual(problemsOf(yaml.replace("protocol: HTTP }", "protocol: TCP }")), [
      "f.yaml:12: spec.parentRefs[0].name: Gateway default/edge has no listener for a GRPCRoute",
    ]);
    assert.deepEqual(problemsOf(yaml.replace("{ name: edge }]", "{ name: edgy }]")), [
      "f.yaml:12: spec.parentRefs[0].name: no Gateway default/edgy is defined",
    ]);
  });

  it("of the documentation is one, beside an HTTPRoute for the rest of the port", async () => {
    const docs = await readFile(join(ROOT, "docs", "configuration.md"), "utf8");
    const section = docs.slice(docs.indexOf("## GRPCRoute"));
    const yaml = /```yaml\n([\s\S]*?)```/.exec(section)![1]!;
    const web = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all }
spec: { parentRefs: [{ name: edge, sectionName: web }], rules: [{ backendRefs: [{ name: menu, port: 80 }] }] }
`;
    const [all, shop] = snapshotOf(yaml + web).routes;
    assert.deepEqual(
      [all!.listeners, shop!.listeners],
      [["default/edge/web"], ["default/edge/calls"]],
    );
  });

  it("stands once", () => {
    const yaml = withRules(`{ ${TO_A} }`);
    const route = yaml.split("---\n")[1]!;
    assert.match(problemsOf(`${yaml}---\n${route}`).join(), /GRPCRoute default\/all is defined in/);
  });
});

describe("a host", () => {
  const listeners = "listeners: [{ name: http, port: 0, protocol: HTTP }]";
  const base = withRules(`{ ${TO_A} }`);
  const route = (kind: string, name: string, about: { hosts?: string; age?: string } = {}) => `---
apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: { name: ${name}${about.age === undefined ? "" : `, creationTimestamp: ${about.age}`} }
spec:
  parentRefs: [{ name: edge }]
  hostnames: [${about.hosts ?? ""}]
  rules: [{ ${TO_A} }]
`;
  /** The Gateway and the Service of {@link base}, other routes. */
  const problems = (...routes: string[]): string[] => {
    const [gateway, , service] = base.split("---\n");
    return problemsOf([gateway, service].join("---\n") + routes.join(""));
  };

  it("of a listener belongs to one kind of route: the first in the alphabet has it", () => {
    const found = problems(route("GRPCRoute", "b"), route("HTTPRoute", "a"));
    assert.deepEqual(found, [
      "f.yaml:17: metadata.name: on listener default/edge/http every host belongs to HTTPRoute default/a, which goes first",
    ]);
  });

  it("is kept by the older route", () => {
    const [old, young] = ['"2026-01-01T00:00:00Z"', '"2026-02-01T00:00:00Z"'];
    const hosts = "x.example, shop.example";
    const found = problems(
      route("HTTPRoute", "a", { hosts, age: young }),
      route("GRPCRoute", "b", { hosts: '"*.other.example", "*.example"', age: old }),
    );
    assert.deepEqual(found, [
      "f.yaml:20: spec.hostnames[0]: on listener default/edge/http x.example belongs to GRPCRoute default/b, which goes first",
    ]);
  });

  it("that only a refused route has is free", () => {
    const found = problems(
      route("HTTPRoute", "a", { hosts: "x.example" }),
      route("GRPCRoute", "b", { hosts: "x.example, y.example" }),
      route("HTTPRoute", "c", { hosts: "y.example" }),
    );
    assert.deepEqual(
      found.map((line) => line.split(":")[1]),
      ["28"],
    );
  });

  it("is no matter of dispute where hosts or listeners differ", () => {
    assert.deepEqual(
      problems(
        route("HTTPRoute", "a", { hosts: "shop.example, example" }),
        route("GRPCRoute", "b", { hosts: '"*.calls.example"' }),
        route("HTTPRoute", "c", { hosts: "shop.example" }),
      ),
      [],
    );
    const two = `listeners:
    - { name: http, port: 8080, protocol: HTTP }
    - { name: calls, port: 8080, protocol: HTTP, hostname: calls.example }`;
    const at = (text: string, name: string): string =>
      text.replace("{ name: edge }", `{ name: edge, sectionName: ${name} }`);
    const [gateway, , service] = base.replace(listeners, two).split("---\n");
    const both = [at(route("HTTPRoute", "a"), "http"), at(route("GRPCRoute", "b"), "calls")];
    assert.deepEqual(problemsOf([gateway, service].join("---\n") + both.join("")), []);
    // Narrowed to the listener's host they do not meet, elsewhere they would.
    const apart = [
      route("HTTPRoute", "a", { hosts: "shop.example" }),
      at(route("GRPCRoute", "b", { hosts: '"*.example"' }), "calls"),
    ];
    assert.deepEqual(problemsOf([gateway, service].join("---\n") + apart.join("")), []);
  });
});
