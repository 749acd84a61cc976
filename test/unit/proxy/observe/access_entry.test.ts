import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import { AccessEntry, refusedLine } from "#proxy/observe/access_entry.ts";
import { LINE_BYTES_MAX } from "#proxy/observe/access_log.ts";
import { SimExchange } from "#test/sim/exchange.ts";

const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

interface Asked {
  readonly method?: string;
  readonly target?: string;
  readonly authority?: string;
  readonly fields?: string[];
  readonly peer?: Peer;
  readonly sampled?: boolean;
  readonly change?: object;
}

/** The lines of one request that `finish` ends. */
function linesOf(asked: Asked, finish: (entry: AccessEntry) => void = () => {}): string[] {
  const { method = "GET", target = "/", authority = "shop.example", fields = [] } = asked;
  const { peer = anonymous("10.0.0.1", 4_711), sampled = true, change = {} } = asked;
  const head = {
    method,
    target,
    authority,
    fields,
    body: 0,
    upgrade: undefined,
    takesTrailers: false,
  };
  const silent = { answer() {}, abort() {} };
  const exchange = new SimExchange(head, { peer, listener: "default/edge/http" }, silent);
  Object.assign(exchange, change);
  const clock = new VirtualClock();
  const entry = new AccessEntry(exchange);
  const lines: string[] = [];
  entry.begin(sampled, clock.now());
  clock.advance(1_500);
  finish(entry);
  entry.end({ write: (line) => lines.push(line) }, clock);
  return lines;
}

/** The fields of the one line. */
function fieldsOf(
  asked: Asked,
  finish?: (entry: AccessEntry) => void,
): Record<string, string | number | undefined> {
  const lines = linesOf(asked, finish);
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /^[\x20-\x7e]+\n$/, "one line of ASCII");
  assert.ok(lines[0]!.length <= LINE_BYTES_MAX, `${lines[0]!.length} bytes`);
  return JSON.parse(lines[0]!);
}

const GATEWAY: Peer = {
  kind: "gateway",
  address: "10.0.0.9",
  id: "spiffe://us.acme.mesh/mesh/gateway",
  cluster: "us.acme.mesh" as ClusterName,
};

describe("a line of the access log", () => {
  it("is written of every call of gRPC whose status speaks against its endpoint", () => {
    const ended = (grpcStatus: number) =>
      linesOf({ sampled: false }, (entry) => Object.assign(entry, { status: 200, grpcStatus }));
    assert.deepEqual(ended(5), []);
    const line = JSON.parse(ended(14)[0]!);
    assert.equal(line["rpc.grpc.status_code"], 14);
    assert.equal(line["error.type"], "UNAVAILABLE");
  });

  it("has the names of OpenTelemetry's conventions", () => {
    const fields = ["user-agent", "curl/8", "x-request-id", "r1", "traceparent", TRACE];
    const line = fieldsOf(
      { target: "/menu?table=4", authority: "shop.example:8080", fields },
      (e) => {
        e.service = "menu.shop";
        e.status = 200;
        e.requestBytes = 3;
        e.answerBytes = 70;
        e.resends = 1;
      },
    );
    assert.deepEqual(line, {
      timestamp: "2026-01-01T00:00:01.500Z",
      "network.protocol.name": "http",
      "network.protocol.version": "1.1",
      "http.request.method": "GET",
      "url.scheme": "http",
      "url.path": "/menu",
      "url.query": "table=4",
      "http.response.status_code": 200,
      "user_agent.original": "curl/8",
      "server.address": "shop.example",
      "server.port": 8080,
      "client.address": "10.0.0.1",
      "http.server.request.duration": 1.5,
      "http.request.body.size": 3,
      "http.response.body.size": 70,
      "http.request.resend_count": 1,
      "espalier.listener": "default/edge/http",
      "espalier.service": "menu.shop",
      "espalier.request_id": "r1",
      trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
    });
  });

  it("is not written of what sampling leaves out, unless it failed", () => {
    const unsampled = { sampled: false };
    assert.deepEqual(
      linesOf(unsampled, (e) => {
        e.status = 404;
      }),
      [],
    );
    const failed = fieldsOf(unsampled, (e) => {
      e.failure = failure("deadline", "15000 ms are over");
    });
    assert.equal(failed["error.type"], "deadline");
    assert.equal(failed["error.message"], "15000 ms are over");
    const bad = fieldsOf(unsampled, (e) => {
      e.status = 503;
    });
    assert.equal(bad["error.type"], "503", "of an answer that the endpoint gave itself");
  });

  it("is of its own request only, though a connection has one entry", () => {
    const head = {
      method: "GET",
      target: "/a",
      authority: "a",
      fields: [],
      body: 0,
      upgrade: undefined,
      takesTrailers: false,
    };
    const silent = { answer() {}, abort() {} };
    const exchange = new SimExchange(head, { peer: anonymous("10.0.0.1"), listener: "l" }, silent);
    const clock = new VirtualClock();
    const entry = new AccessEntry(exchange);
    const lines: string[] = [];
    const log = { write: (line: string) => lines.push(line) };
    entry.begin(true, clock.now());
    entry.failure = failure("closed_early", "reset");
    entry.status = 502;
    entry.resends = 2;
    entry.service = "a.b";
    entry.requestBytes = 9;
    entry.end(log, clock);
    head.target = "/b";
    entry.begin(true, clock.now());
    entry.status = 200;
    entry.end(log, clock);
    const second = JSON.parse(lines[1]!);
    assert.equal(second["url.path"], "/b");
    assert.equal(second["http.request.body.size"], 0);
    for (const gone of [
      "error.type",
      "error.message",
      "espalier.service",
      "http.request.resend_count",
    ]) {
      assert.equal(second[gone], undefined, gone);
    }
  });

  it("cannot be ended, or given fields, by what a client says", () => {
    const evil = '"}\n{"error.type":"none"}\r\u0000\u001b[31m\u0085\u009b\u00ff\\';
    const line = fieldsOf({
      method: 'M"',
      target: `/${evil}?${evil}`,
      authority: evil,
      fields: ["user-agent", evil, "x-request-id", evil, "traceparent", `00-${evil}`],
    });
    assert.equal(line["url.path"], `/${evil}`);
    assert.equal(line["url.query"], evil);
    assert.equal(line["user_agent.original"], evil);
    assert.equal(line["espalier.request_id"], evil);
    assert.equal(line["server.address"], evil);
    assert.equal(line["http.request.method"], "_OTHER");
    assert.equal(line["http.request.method_original"], 'M"');
    assert.equal(line["error.type"], undefined);
    assert.equal(line["trace_id"], undefined);
    const refused = refusedLine(
      { listener: "l", client: "10.0.0.1", status: 400 },
      failure("bad_request", evil),
      0,
    );
    assert.match(refused, /^[\x20-\x7e]+\n$/);
    assert.equal(JSON.parse(refused)["error.message"], evil);
  });

  it("is bounded, whatever is long in a request", () => {
    const long = "x".repeat(60_000);
    const line = fieldsOf({ target: `/${long}?q`, fields: ["user-agent", long] });
    assert.equal(String(line["url.path"]).length, 1_024);
    assert.equal(String(line["user_agent.original"]).length, 1_024);
    const worst = "\u00ff".repeat(60_000);
    const all = fieldsOf(
      {
        method: worst,
        target: `/${worst}?${worst}`,
        authority: worst,
        fields: ["user-agent", worst, "x-request-id", worst, "x-forwarded-for", worst],
        peer: anonymous("2001:db8:1111:2222:3333:4444:5555:6666", 1, true),
      },
      (e) => {
        e.failure = failure("no_route", worst);
        e.service = `${"s".repeat(63)}.${"n".repeat(63)}`;
      },
    );
    assert.equal(String(all["user_agent.original"]).length, 64);
  });

  it("tells the client that a trusted proxy has seen, not what that one was told", () => {
    const list = ["x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.1"];
    const trusted = fieldsOf({ fields: list, peer: anonymous("::ffff:10.0.0.1", 1, true) });
    assert.equal(trusted["client.address"], "192.0.2.7");
    assert.equal(trusted["network.peer.address"], "10.0.0.1");
    const stranger = fieldsOf({ fields: list, peer: anonymous("10.0.0.1", 1) });
    assert.equal(stranger["client.address"], "10.0.0.1");
    assert.equal(stranger["network.peer.address"], undefined);
    const mesh = fieldsOf({ fields: ["x-forwarded-for", "192.0.2.7"], peer: GATEWAY });
    assert.equal(mesh["client.address"], "192.0.2.7");
    assert.equal(mesh["espalier.peer_id"], GATEWAY.kind === "gateway" ? GATEWAY.id : "");
  });

  it("hides what signs a request", () => {
    const query = "a=1&X-Amz-Signature=s3cret&Signature=s3cret&sig=s3cret&design=kept";
    const line = fieldsOf({ target: `/x?${query}` });
    assert.equal(
      line["url.query"],
      "a=1&X-Amz-Signature=REDACTED&Signature=REDACTED&sig=REDACTED&design=kept",
    );
  });

  it("of a tunnel or a connection counts bytes, not bodies", () => {
    const upgraded = fieldsOf({}, (e) => {
      e.status = 101;
      e.requestBytes = 5;
      e.answerBytes = 6;
    });
    assert.equal(upgraded["espalier.bytes_received"], 5);
    assert.equal(upgraded["espalier.bytes_sent"], 6);
    assert.equal(upgraded["http.response.body.size"], undefined);
    const change = { raw: true, serverName: "db.example" };
    const raw = fieldsOf({ change, fields: ["forwarded", 'for="10.0.0.1:9"'] }, (e) => {
      e.answerBytes = 6;
    });
    assert.equal(raw["network.protocol.name"], "tcp");
    assert.equal(raw["server.address"], "db.example");
    assert.equal(raw["espalier.duration"], 1.5);
    for (const none of ["url.path", "http.request.method", "http.response.status_code"]) {
      assert.equal(raw[none], undefined, none);
    }
  });

  it("splits hosts as they are written", () => {
    const hostOf = (authority: string) => {
      const line = fieldsOf({ authority });
      return [line["server.address"], line["server.port"]];
    };
    assert.deepEqual(hostOf("[::1]:80"), ["::1", 80]);
    assert.deepEqual(hostOf("[::1]"), ["::1", undefined]);
    assert.deepEqual(hostOf("a.example"), ["a.example", undefined]);
    assert.deepEqual(hostOf(""), [undefined, undefined]);
  });
});
