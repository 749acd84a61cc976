import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { gatewayYaml, problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { get, TestOrigin } from "#test/kit/http.ts";
import { until } from "#test/kit/processes.ts";
import { startPlane } from "#test/kit/proxy.ts";

const ANNOUNCED_POST = { "access-control-request-method": "POST" };
const TO_A = "backendRefs: [{ name: a, port: 80 }]";
const TO_B = "backendRefs: [{ name: b, port: 80 }]";

describe("an HTTPRoute", { timeout: 60_000 }, () => {
  const a = new TestOrigin("a");
  const a2 = new TestOrigin("a2");
  const b = new TestOrigin("b");
  before(() => Promise.all([a.start(), a2.start(), b.start()]));
  after(() => Promise.all([a.stop(), a2.stop(), b.stop()]));

  /** Runs `use` with the port of a proxy that has these rules. */
  async function through(rules: string[], use: (port: number) => Promise<void>): Promise<void> {
    const yaml = gatewayYaml(rules, {
      ...{ a: [a.port], b: [b.port], pair: [a.port, a2.port] },
      // Nobody listens there.
      down: [1],
    });
    const { plane, port } = await startPlane(snapshotOf(yaml));
    for (const origin of [a, a2, b]) origin.seen.length = 0;
    try {
      await use(port);
    } finally {
      await plane.drain(0);
    }
  }

  it("matches by method, header, query and regular expression, the more specific first", () =>
    through(
      [
        `{ matches: [{ path: { value: /m } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /m }, method: POST }], ${TO_B} }`,
        `{ matches: [{ path: { value: /h } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /h }, headers: [{ name: X-Lane, value: fast }] }], ${TO_B} }`,
        `{ matches: [{ path: { value: /q } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /q }, queryParams: [{ name: v, type: RegularExpression,
          value: "[0-9]+" }] }], ${TO_B} }`,
        `{ matches: [{ path: { type: RegularExpression, value: "/r/(a+)+b" } }], ${TO_B} }`,
        `{ matches: [{ path: { value: /r } }], ${TO_A} }`,
      ],
      async (port) => {
        const served = async (path: string, options: Parameters<typeof get>[1] = {}) =>
          (await get(port, { path, ...options })).headers["x-served-by"];
        assert.equal(await served("/m"), "a");
        assert.equal(await served("/m", { method: "POST" }), "b");
        assert.equal(await served("/h", { headers: { "x-lane": "slow" } }), "a");
        assert.equal(await served("/h", { headers: { "x-lane": "fast" } }), "b");
        assert.equal(await served("/q?v=x1"), "a");
        assert.equal(await served("/q?w=&v=%31%32"), "b");
        assert.equal(await served("/r/aaab"), "b");
        assert.equal(await served(`/r/${"a".repeat(5_000)}c`), "a");
        assert.equal((await get(port, { path: "/none" })).status, 404);
      },
    ));

  it("edits headers of requests and answers, for a rule and for a backend", () =>
    through(
      [
        `{ filters: [
          { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Set, value: new }], add: [
          { name: X-Add, value: two }], remove: [X-Gone] } },
          { type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: X-Rule, value: "1" }],
          remove: [x-served-by] } }],
          backendRefs: [{ name: a, port: 80, filters: [
            { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-backend, value: a }] } },
            { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-rule, value: "0" }] } }] }] }`,
      ],
      async (port) => {
        const headers = { "x-set": "old", "x-add": "one", "x-gone": "here" };
        const answer = await get(port, { headers });
        const seen = a.seen[0]!.headers;
        assert.equal(seen["x-set"], "new");
        assert.equal(seen["x-add"], "one, two");
        assert.equal(seen["x-gone"], undefined);
        assert.equal(seen["x-backend"], "a");
        assert.equal(answer.headers["x-rule"], "0, 1");
        assert.equal(answer.headers["x-served-by"], undefined);
      },
    ));

  it("rewrites host and path", () =>
    through(
      [
        `{ matches: [{ path: { value: /old/ } }], filters: [{ type: URLRewrite,
          urlRewrite: { hostname: in.example, path: { type: ReplacePrefixMatch,
          replacePrefixMatch: /new } } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /strip } }], filters: [{ type: URLRewrite,
          urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: "" } } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /full } }], filters: [{ type: URLRewrite,
          urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /one } } }], ${TO_A} }`,
      ],
      async (port) => {
        for (const path of ["/old/x/y?q=1", "/old", "/strip", "/strip//evil/z", "/full/a?b=c"]) {
          await get(port, { path, host: "out.example" });
        }
        assert.deepEqual(
          a.seen.map(({ url }) => url),
          ["/new/x/y?q=1", "/new", "/", "/evil/z", "/one?b=c"],
        );
        assert.equal(a.seen[0]!.headers.host, "in.example");
        assert.equal(a.seen[0]!.headers["x-forwarded-host"], "out.example");
        assert.equal(a.seen[4]!.headers.host, "out.example");
      },
    ));

  it("redirects", () =>
    through(
      [
        `{ matches: [{ path: { value: /s } }], filters: [{ type: RequestRedirect,
          requestRedirect: { scheme: https, statusCode: 301 } }] }`,
        `{ matches: [{ path: { value: /p } }], filters: [{ type: RequestRedirect,
          requestRedirect: { hostname: other.example, port: 8443, path: { type: ReplacePrefixMatch,
          replacePrefixMatch: /n } } }] }`,
      ],
      async (port) => {
        const secure = await get(port, { path: "/s/x?y=1", host: "shop.example:8080" });
        assert.equal(secure.status, 301);
        assert.equal(secure.headers.location, "https://shop.example/s/x?y=1");
        const moved = await get(port, { path: "/p/x" });
        assert.equal(moved.status, 302);
        assert.equal(moved.headers.location, "http://other.example:8443/n/x");
      },
    ));

  it("speaks CORS for its endpoints", () =>
    through(
      [
        `{ filters: [{ type: CORS, cors: { allowOrigins: ["https://*.shop.example"], allowMethods: [GET, PUT],
          allowHeaders: ["*"], allowCredentials: true, exposeHeaders: [x-served-by], maxAge: 60 } }], ${TO_A} }`,
        `{ matches: [{ path: { value: /down } }], filters: [{ type: CORS, cors: { allowOrigins: ["*"] } }],
          backendRefs: [{ name: down, port: 80 }] }`,
      ],
      async (port) => {
        const origin = "https://eu.shop.example";
        const asks = {
          origin,
          "access-control-request-method": "PUT",
          "access-control-request-headers": "x-one, x-two",
        };
        const preflight = await get(port, { method: "OPTIONS", headers: asks });
        assert.equal(preflight.status, 204);
        assert.equal(preflight.headers["access-control-allow-origin"], origin);
        assert.equal(preflight.headers["access-control-allow-methods"], "GET, PUT");
        assert.equal(preflight.headers["access-control-allow-headers"], "x-one, x-two");
        assert.equal(preflight.headers["access-control-max-age"], "60");
        assert.equal(a.seen.length, 0);
        const real = await get(port, { headers: { origin } });
        assert.equal(real.headers["access-control-allow-origin"], origin);
        assert.equal(real.headers["access-control-allow-credentials"], "true");
        assert.equal(real.headers["access-control-expose-headers"], "x-served-by");
        for (const other of ["https://shop.example", "https://evil.example/.shop.example"]) {
          const refused = await get(port, {
            headers: { ...asks, origin: other },
            method: "OPTIONS",
          });
          assert.equal(refused.headers["access-control-allow-origin"], undefined, other);
        }
        const plain = await get(port);
        assert.equal(plain.headers["access-control-allow-origin"], undefined);
        const failed = await get(port, { path: "/down", headers: { origin } });
        assert.equal(failed.status, 503);
        assert.equal(failed.headers["access-control-allow-origin"], origin);
      },
    ));

  it("answers preflights where the request would go", () => {
    const cors = (maxAge: number) =>
      `filters: [{ type: CORS, cors: { allowOrigins: ["*"], maxAge: ${maxAge} } }], `;
    const rule = (match: string, more: string) => `{ matches: [{ ${match} }], ${more}${TO_A} }`;
    const at = (path: string) => `path: { value: ${path} }`;
    return through(
      [
        rule(`${at("/buy")}, method: POST`, cors(1)),
        rule(`${at("/buy")}, method: PUT, queryParams: [{ name: v, value: "2" }]`, cors(2)),
        rule(`${at("/buy")}, method: PUT, headers: [{ name: a, value: b }]`, cors(3)),
        rule(`${at("/buy")}, method: PATCH`, ""),
        rule(`${at("/")}, method: DELETE`, cors(4)),
        rule(`${at("/own")}, method: DELETE`, ""),
        rule(at("/own"), ""),
      ],
      async (port) => {
        const ask = async (path: string, asked: string): Promise<string> => {
          const announced = { "access-control-request-method": asked };
          const headers = { origin: "https://a.example", ...announced };
          const { status, headers: said } = await get(port, { path, method: "OPTIONS", headers });
          return `${status} ${said["access-control-max-age"] ?? said["x-served-by"] ?? ""}`;
        };
        assert.equal(await ask("/buy", "POST"), "204 1");
        assert.equal(await ask("/buy?v=2", "PUT"), "204 3", "a header counts for more");
        assert.equal(await ask("/buy?v=1", "PUT"), "204 3");
        assert.equal(await ask("/buy", "DELETE"), "204 4");
        assert.equal(await ask("/buy", "PATCH"), "404 ", "there is no CORS");
        // What takes OPTIONS itself comes before a less specific rule with CORS.
        assert.equal(await ask("/own", "DELETE"), "200 a");
        const noPreflight = [{ origin: "https://a.example" }, ANNOUNCED_POST];
        for (const headers of noPreflight) {
          const { status } = await get(port, { path: "/buy", method: "OPTIONS", headers });
          assert.equal(status, 404);
        }
        assert.equal((await get(port, { path: "/buy", method: "POST" })).status, 200);
      },
    );
  });

  it("mirrors requests with their bodies, and answers without them", () =>
    through(
      [
        `{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: b, port: 80 } } }], ${TO_A} }`,
      ],
      async (port) => {
        const answer = await get(port, { method: "POST", path: "/x", body: "hello" });
        assert.equal(answer.headers["x-served-by"], "a");
        assert.equal(answer.body, "hello");
        await until("the copy", () => b.seen.length === 1);
        assert.deepEqual([b.seen[0]!.method, b.seen[0]!.url], ["POST", "/x"]);
        assert.equal(b.seen[0]!.headers["content-length"], "5");
      },
    ));

  it("mirrors a share, and never waits for a mirror that is gone", () =>
    through(
      [
        `{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: b, port: 80 },
          percent: 30 } }], ${TO_A} }`,
      ],
      async (port) => {
        for (let i = 0; i < 200; i++) await get(port);
        assert.equal(a.seen.length, 200);
        await until("the copies", () => b.seen.length > 30);
        assert.ok(b.seen.length < 95, `${b.seen.length} of 200`);
      },
    ));

  it("keeps a session at its endpoint, by cookie or header", () =>
    through(
      [
        `{ matches: [{ path: { value: /c } }], sessionPersistence: { sessionName: sid }, backendRefs: [
          { name: pair, port: 80 }] }`,
        `{ matches: [{ path: { value: /h } }], sessionPersistence: { type: Header, absoluteTimeout: 1h },
          backendRefs: [{ name: pair, port: 80 }] }`,
      ],
      async (port) => {
        const first = await get(port, { path: "/c" });
        const cookie = String(first.headers["set-cookie"]);
        assert.match(
          cookie,
          /^sid=[0-9a-f]{16}\.\w+\.\w+\.[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/,
        );
        const token = cookie.split(";")[0]!;
        for (let i = 0; i < 20; i++) {
          const again = await get(port, { path: "/c", headers: { cookie: `x=1; ${token}` } });
          assert.equal(again.headers["x-served-by"], first.headers["x-served-by"]);
          assert.equal(again.headers["set-cookie"], undefined);
        }
        const byHeader = await get(port, { path: "/h" });
        const key = String(byHeader.headers["x-espalier-session"]);
        for (let i = 0; i < 20; i++) {
          const again = await get(port, { path: "/h", headers: { "x-espalier-session": key } });
          assert.equal(again.headers["x-served-by"], byHeader.headers["x-served-by"]);
        }
        // One that somebody has made up is given a new endpoint and told so.
        const made = token.replace(/^sid=.{16}/, "sid=0000000000000000");
        const lost = await get(port, { path: "/c", headers: { cookie: made } });
        assert.ok(lost.headers["set-cookie"]);
      },
    ));

  it("retries the statuses that it names, as often as it says, after a wait", async () => {
    let asked = 0;
    const flaky = new TestOrigin("flaky");
    flaky.server.prependListener("request", (_, response) => {
      response.statusCode = ++asked < 3 ? 429 : 200;
    });
    await flaky.start();
    const rules = [
      `{ retry: { codes: [429], attempts: 2, backoff: 20ms }, backendRefs: [{ name: flaky, port: 80 }] }`,
    ];
    const { plane, port } = await startPlane(
      snapshotOf(gatewayYaml(rules, { flaky: [flaky.port] })),
    );
    try {
      assert.equal((await get(port)).status, 200);
      assert.equal(asked, 3);
      asked = -10;
      assert.equal((await get(port)).status, 429);
      assert.equal(asked, -7);
      asked = 0;
      // A POST that an endpoint has answered is never sent again.
      assert.equal((await get(port, { method: "POST", body: "x" })).status, 429);
    } finally {
      await plane.drain(0);
      await flaky.stop();
    }
  });

  it("is refused with its place where it cannot be meant", () => {
    const said = (rule: string): string => problemsOf(gatewayYaml([rule], { a: [1] })).join("\n");
    const cases: Array<[string, RegExp]> = [
      [
        `{ matches: [{ path: { type: RegularExpression, value: "(" } }], ${TO_A} }`,
        /matches\[0\]\.path\.value.*missing closing/,
      ],
      [`{ matches: [{ path: { type: Glob, value: /x } }], ${TO_A} }`, /path\.type/],
      [
        `{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Transfer-Encoding,
          value: x }] } }], ${TO_A} }`,
        /belongs to the connection/,
      ],
      [
        `{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x,
          value: "a\\r\\nb: c" }] } }], ${TO_A} }`,
        /printable ASCII/,
      ],
      [`{ filters: [{ type: RequestRedirect, requestRedirect: {} }], ${TO_A} }`, /no backend/],
      [
        `{ matches: [{ path: { type: Exact, value: /x } }], filters: [{ type: URLRewrite,
          urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }], ${TO_A} }`,
        /needs matches of type PathPrefix/,
      ],
      [
        `{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: z, port: 80 } } }], ${TO_A} }`,
        /no Service z\.default/,
      ],
      [`{ filters: [{ type: ExtensionRef }], ${TO_A} }`, /filters\[0\]\.type/],
      [
        `{ sessionPersistence: { cookieConfig: { lifetimeType: Permanent } }, ${TO_A} }`,
        /permanent cookie/,
      ],
    ];
    for (const [rule, expected] of cases) assert.match(said(rule), expected, rule);
  });
});
