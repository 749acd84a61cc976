import assert from "node:assert/strict";
import { compileStatic } from "#control/compile/static.ts";
import { parseResources } from "#control/config/parse.ts";
import { referenceProblems } from "#control/config/references.ts";
import { formatProblem } from "#kernel/result.ts";
import type { Snapshot } from "#model/snapshot.ts";

/** Everything that is wrong with a file for a proxy by itself. */
export function problemsOf(text: string): string[] {
  const { resources, problems } = parseResources(text, "f.yaml");
  const all = [...problems, ...referenceProblems(resources, { elsewhere: new Set() })];
  return all.map(formatProblem);
}

/** The snapshot of a file that has no problems. */
export function snapshotOf(text: string): Snapshot {
  assert.deepEqual(problemsOf(text), []);
  return compileStatic(parseResources(text, "f.yaml").resources);
}

/** A Gateway with one HTTP listener, an HTTPRoute of these rules (flow YAML), and a Service per origin. */
export function gatewayYaml(
  rules: readonly string[],
  origins: Readonly<Record<string, readonly number[]>>,
): string {
  const services = Object.entries(origins).map(
    ([name, ports]) => `---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: ${name} }
spec:
  ports: [{ port: 80 }]
  endpoints: [${ports.map((port) => `{ address: 127.0.0.1, port: ${port} }`).join(", ")}]
`,
  );
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  gatewayClassName: espalier
  listeners: [{ name: http, port: 0, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all }
spec:
  parentRefs: [{ name: edge }]
  rules:
${rules.map((rule) => `    - ${rule}\n`).join("")}${services.join("")}`;
}

/** The same with a GRPCRoute, and Services that speak HTTP/2. */
export function grpcGatewayYaml(
  rules: readonly string[],
  origins: Readonly<Record<string, readonly number[]>>,
): string {
  return gatewayYaml(rules, origins)
    .replace("kind: HTTPRoute", "kind: GRPCRoute")
    .replaceAll("ports: [{ port: 80 }]", "ports: [{ port: 80, appProtocol: grpc }]");
}

const EDITS = "{ set: [{ name: a, value: b }], add: [{ name: c, value: d }], remove: [e] }";

/** A file in which a rule says everything that one can say. */
export const EVERY_RULE_FIELD = gatewayYaml(
  [
    `{ matches: [{ path: { type: RegularExpression, value: "/a.*" }, method: GET,
          headers: [{ name: h, value: v }], queryParams: [{ name: q, type: RegularExpression, value: "w+" }] }],
        filters: [{ type: RequestRedirect, requestRedirect: { scheme: https, hostname: h.example, port: 1,
          path: { type: ReplaceFullPath, replaceFullPath: /x } } }] }`,
    `{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: ${EDITS} },
          { type: ResponseHeaderModifier, responseHeaderModifier: ${EDITS} },
          { type: URLRewrite, urlRewrite: { hostname: i.example,
            path: { type: ReplacePrefixMatch, replacePrefixMatch: /y } } },
          { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 }, percent: 5 } },
          { type: CORS, cors: { allowOrigins: ["*"], allowMethods: [GET], allowHeaders: [x], exposeHeaders: [y] } }],
        retry: { codes: [500], attempts: 1, backoff: 1s },
        sessionPersistence: { sessionName: s, absoluteTimeout: 1h, idleTimeout: 1m,
          cookieConfig: { lifetimeType: Permanent } },
        timeouts: { request: 2s, backendRequest: 1s },
        backendRefs: [{ name: a, port: 80, weight: 3, filters: [
          { type: RequestHeaderModifier, requestHeaderModifier: ${EDITS} },
          { type: ResponseHeaderModifier, responseHeaderModifier: ${EDITS} }] }] }`,
  ],
  { a: [1] },
);

/** A file in which rules for calls say everything that one can say. */
export const EVERY_CALL_FIELD = grpcGatewayYaml(
  [
    `{ name: one, matches: [
          { method: { service: pack.Shop, method: Buy }, headers: [{ name: H, value: v }] },
          { method: { type: Exact, service: pack.Shop } }, { method: { method: Buy } },
          { method: { type: RegularExpression, service: "pack[.].+", method: "Get.*" } },
          { headers: [{ type: RegularExpression, name: lane, value: "a|b" }] }],
        filters: [{ type: RequestHeaderModifier, requestHeaderModifier: ${EDITS} },
          { type: ResponseHeaderModifier, responseHeaderModifier: ${EDITS} },
          { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 }, percent: 5 } },
          { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 }, fraction: { numerator: 1 } } },
          { type: CORS, cors: { allowOrigins: ["*"], allowHeaders: [x-grpc-web], exposeHeaders: [grpc-status] } }],
        retry: { codes: [UNAVAILABLE, 8, RESOURCE_EXHAUSTED], attempts: 1, backoff: 1s },
        sessionPersistence: { type: Header, sessionName: S },
        timeouts: { request: 2s, backendRequest: 1s },
        backendRefs: [{ name: a, port: 80, weight: 3, filters: [
          { type: RequestHeaderModifier, requestHeaderModifier: ${EDITS} },
          { type: ResponseHeaderModifier, responseHeaderModifier: ${EDITS} }] }] }`,
    "{ name: two, retry: {}, backendRefs: [{ name: a, port: 80 }] }",
  ],
  { a: [1] },
);
