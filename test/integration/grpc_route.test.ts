import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import type { LocalPlane } from "#proxy/app/local_plane.ts";
import { grpcGatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { GrpcCaller, GrpcOrigin } from "#test/kit/grpc_ends.ts";
import { get } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { startPlane } from "#test/kit/proxy.ts";

const BUY = "/shop.v1.Orders/Buy";
const SELL = "/shop.v1.Orders/Sell";
const LIST = "/shop.v1.Menu/List";
const PATHS = [BUY, SELL, LIST, "/shop.v2.Menu/List"];
const TO_A = "backendRefs: [{ name: a, port: 80 }]";
const TO_B = "backendRefs: [{ name: b, port: 80 }]";

describe("a GRPCRoute", { timeout: 60_000 }, () => {
  const a = new GrpcOrigin("a", PATHS);
  const b = new GrpcOrigin("b", PATHS);
  before(() => Promise.all([a.start(), b.start()]));
  after(() => {
    a.stop();
    b.stop();
  });

  /** Runs `use` with a client of a gateway that has these rules for `calls.example`. */
  async function through(
    rules: string[],
    use: (caller: GrpcCaller, port: number, plane: LocalPlane) => Promise<void>,
  ): Promise<void> {
    const yaml = grpcGatewayYaml(rules, { a: [a.port], b: [b.port], nobody: [] });
    const hosted = yaml.replace("  rules:\n", "  hostnames: [calls.example]\n  rules:\n");
    const { plane, port } = await startPlane(snapshotOf(hosted));
    const caller = new GrpcCaller(port);
    for (const origin of [a, b]) {
      origin.seen.length = 0;
      origin.silent = false;
    }
    try {
      await use(caller, port, plane);
    } finally {
      caller.close();
      await plane.drain(0);
    }
  }

  it("sends calls by service, method, expression and header", () =>
    through(
      [
        `{ matches: [{ method: { service: shop.v1.Orders } }], ${TO_A} }`,
        `{ matches: [{ method: { service: shop.v1.Orders, method: Sell } }], ${TO_B} }`,
        `{ matches: [{ method: { type: RegularExpression, service: "shop[.]v[0-9][.]Menu" } }], ${TO_A} }`,
        `{ matches: [{ method: { method: List }, headers: [{ name: Lane, value: fast }] }], ${TO_A} }`,
        `{ matches: [{ method: { service: shop.v1.Menu }, headers: [{ name: Lane, value: fast }] }], ${TO_B} }`,
      ],
      async (caller) => {
        const by = async (path: string, headers = {}) => (await caller.ask(path, headers)).by;
        assert.equal(await by(BUY), "a");
        assert.equal(await by(SELL), "b");
        assert.equal(await by(LIST), "a");
        assert.equal(await by(LIST, { lane: "fast" }), "b");
        assert.equal(await by("/shop.v2.Menu/List", { lane: "fast" }), "a");
        assert.deepEqual(
          a.seen.map(({ path }) => path),
          [BUY, LIST, "/shop.v2.Menu/List"],
        );
      },
    ));

  it("says UNIMPLEMENTED of a call that no rule takes, and has nothing but calls", () =>
    through(
      [`{ matches: [{ method: { service: shop.v1.Orders } }], ${TO_A} }`],
      async (caller, port) => {
        const lost = await caller.ask(LIST);
        assert.equal(lost.code, status.UNIMPLEMENTED);
        assert.match(lost.details, /no_route/);
        const place = { host: "calls.example", path: BUY, method: "POST" };
        assert.equal((await get(port, place)).status, 404);
        const elsewhere = new GrpcCaller(port, "other.example");
        assert.equal((await elsewhere.ask(BUY)).code, status.UNIMPLEMENTED);
        elsewhere.close();
        assert.equal((await caller.ask(BUY)).by, "a");
        assert.equal(a.seen.length, 1);
      },
    ));

  it("shares calls by weight, and says UNAVAILABLE where nobody serves", () =>
    through(
      [
        `{ matches: [{ method: { service: shop.v1.Orders } }], backendRefs: [{ name: a, port: 80, weight: 3 },
          { name: b, port: 80 }, { name: nobody, port: 80, weight: 0 }] }`,
        "{ backendRefs: [{ name: nobody, port: 80 }] }",
        `{ matches: [{ method: { method: None } }] }`,
      ],
      async (caller) => {
        const calls = 200;
        await Promise.all(Array.from({ length: calls }, () => caller.ask(BUY)));
        assert.equal(a.seen.length + b.seen.length, calls);
        const share = a.seen.length / calls;
        assert.ok(share > 0.6 && share < 0.9, `${share}`);
        assert.equal((await caller.ask(LIST)).code, status.UNAVAILABLE);
        assert.equal((await caller.ask("/x/None")).code, status.UNAVAILABLE);
      },
    ));

  it("edits headers of calls and answers, for a rule and for a backend", () =>
    through(
      [
        `{ filters: [
          { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: lane, value: new }],
            add: [{ name: more, value: two }], remove: [gone] } },
          { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: by-rule, value: "1" }] } }],
          backendRefs: [{ name: a, port: 80, filters: [
            { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: backend, value: a }] } },
            { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: by-backend, value: "2" }] } }
          ] }] }`,
      ],
      async (caller) => {
        const said = await caller.ask(BUY, { lane: "old", more: "one", gone: "x" });
        const { metadata } = a.seen[0]!;
        const seen = ["lane", "more", "gone", "backend"].map((name) => metadata.get(name).join());
        assert.deepEqual(seen, ["new", "one, two", "", "a"]);
        const got = ["by-rule", "by-backend"].map((name) => said.metadata.get(name).join());
        assert.deepEqual([said.by, ...got], ["a", "1", "2"]);
      },
    ));

  it("copies calls to a mirror, whose answers nobody sees", () =>
    through(
      [
        `{ matches: [{ method: { service: shop.v1.Orders } }], filters: [{ type: RequestMirror, requestMirror: {
          backendRef: { name: b, port: 80 } } }], ${TO_A} }`,
        `{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: b, port: 80 }, percent: 0 } }],
          ${TO_A} }`,
      ],
      async (caller) => {
        b.silent = true;
        assert.equal((await caller.ask(LIST)).by, "a");
        assert.equal((await caller.ask(BUY, { lane: "fast" }, "two of them")).by, "a");
        await until("the copy has come", () => b.seen.length > 0);
        const [copy] = b.seen;
        const about = [b.seen.length, copy!.path, copy!.text, copy!.metadata.get("lane")[0]];
        assert.deepEqual(about, [1, BUY, "two of them", "fast"]);
      },
    ));

  it("ends calls that take too long with DEADLINE_EXCEEDED", () =>
    through(
      [
        `{ matches: [{ method: { method: Buy } }], timeouts: { request: 100ms }, ${TO_A} }`,
        `{ matches: [{ method: { method: Sell } }], timeouts: { backendRequest: 100ms },
          retry: { attempts: 0 }, ${TO_A} }`,
        `{ ${TO_B} }`,
      ],
      async (caller) => {
        a.silent = true;
        for (const path of [BUY, SELL]) {
          const { code, details } = await caller.ask(path);
          assert.equal(code, status.DEADLINE_EXCEEDED, details);
        }
        assert.equal((await caller.ask(LIST)).by, "b");
      },
    ));

  it("answers browsers that ask before they call", () =>
    through(
      [
        `{ matches: [{ method: { service: shop.v1.Menu } }], filters: [{ type: CORS, cors: {
          allowOrigins: ["https://shop.example"], allowHeaders: [content-type, x-grpc-web] } }], ${TO_A} }`,
        `{ ${TO_B} }`,
      ],
      async (_, port) => {
        const headers = {
          origin: "https://shop.example",
          "access-control-request-method": "POST",
          "access-control-request-headers": "content-type,x-grpc-web",
        };
        const place = { host: "calls.example", method: "OPTIONS", headers };
        const asked = await get(port, { ...place, path: LIST });
        assert.deepEqual(
          [
            asked.status,
            asked.headers["access-control-allow-origin"],
            asked.headers["access-control-allow-headers"],
          ],
          [204, "https://shop.example", "content-type, x-grpc-web"],
        );
        assert.equal((await get(port, { ...place, path: BUY })).status, 404);
      },
    ));

  it("is explained as calls see it", () =>
    through(
      [`{ matches: [{ method: { service: shop.v1.Orders } }], ${TO_A} }`],
      async (_caller, _port, plane) => {
        const fields = ["content-type", "application/grpc"];
        const explained = async (path: string, method = "POST") => {
          const asked = { url: `grpc://calls.example:80${path}`, method, fields };
          return plane.explain(asked);
        };
        const known = await explained(BUY);
        assert.deepEqual(
          [known.route, known.services[0]?.service],
          ["GRPCRoute default/all", "a.default"],
        );
        assert.equal((await explained(LIST)).problem, "no route matches (UNIMPLEMENTED)");
        assert.equal((await explained(BUY, "GET")).problem, "no route matches (UNIMPLEMENTED)");
      },
    ));
});
