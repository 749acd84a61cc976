import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import type { ClusterName } from "#model/names.ts";
import { markSource, setForwarding, sourceOf } from "#proxy/authorize/forwarding.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import { TraceIds } from "#proxy/observe/trace_ids.ts";
import { SimExchange } from "#test/sim/exchange.ts";

const SELF = "eu.acme.mesh" as ClusterName;
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const GATEWAY: Peer = {
  kind: "gateway",
  address: "10.0.0.9",
  id: "spiffe://us.acme.mesh/mesh/gateway",
  cluster: "us.acme.mesh" as ClusterName,
};

function exchangeOf(fields: Fields, peer: Peer, change: object = {}): SimExchange {
  const head = {
    method: "GET",
    target: "/",
    authority: "shop.example",
    fields,
    body: 0,
    upgrade: undefined,
    takesTrailers: false,
  };
  const silent = { answer() {}, abort() {} };
  return Object.assign(new SimExchange(head, { peer, listener: "http" }, silent), change);
}

/** The fields after it. */
function forwarded(fields: Fields, peer: Peer, change: object = {}): (name: string) => string {
  const exchange = exchangeOf(fields, peer, change);
  setForwarding(exchange, SELF, new TraceIds(seededRng(1)));
  return (name) => fieldValue(exchange.head.fields, name) ?? "";
}

describe("forwarding fields", () => {
  it("of a client are removed, whatever it says, and ours are set", () => {
    const said = ["x-a", "1", "forwarded", "for=1.2.3.4", "x-real-ip", "1.2.3.4"];
    said.push(
      "x-forwarded-for",
      "9.9.9.9",
      "x-forwarded-proto",
      "https",
      "x-forwarded-port",
      "443",
    );
    said.push("x-forwarded-host", "evil", "x-request-id", "mine", "from", "me");
    const now = forwarded(said, anonymous("::ffff:10.0.0.1"));
    assert.equal(now("x-forwarded-for"), "10.0.0.1");
    assert.equal(now("x-forwarded-proto"), "http");
    assert.equal(now("x-forwarded-host"), "shop.example");
    assert.match(now("x-request-id"), /^[0-9a-f]{32}$/);
    for (const gone of ["forwarded", "x-real-ip", "x-forwarded-port"]) assert.equal(now(gone), "");
    assert.deepEqual([now("x-a"), now("from"), now("via")], ["1", "me", "1.1 eu.acme.mesh"]);
  });

  it("of a trusted address are believed and added to", () => {
    const said = ["x-forwarded-for", "9.9.9.9", "x-forwarded-proto", "https", "x-request-id", "r"];
    const now = forwarded(said, anonymous("10.0.0.1", 1, true));
    assert.equal(now("x-forwarded-for"), "9.9.9.9, 10.0.0.1");
    assert.equal(now("x-forwarded-proto"), "https");
    assert.equal(now("x-forwarded-host"), "shop.example");
    assert.equal(now("x-request-id"), "r");
  });

  it("of a proxy of the mesh stay, and we only say that it passed by us", () => {
    const said = ["x-forwarded-for", "10.0.0.1", "x-request-id", "r", "traceparent", TRACE];
    const now = forwarded([...said, "via", "1.1 us.acme.mesh"], GATEWAY);
    assert.equal(now("x-forwarded-for"), "10.0.0.1");
    assert.equal(now("x-request-id"), "r");
    assert.equal(now("via"), "1.1 us.acme.mesh, 1.1 eu.acme.mesh");
  });

  it("are told as RFC 7239 has it where that is wanted, over TLS as well", () => {
    const policy = { streamIdleMs: 1, forwarded: true, accessLogShare: undefined };
    const now = forwarded([], anonymous("2001:db8::1", 4_711), { policy, secure: true });
    assert.equal(now("forwarded"), 'for="[2001:db8::1]:4711";proto=https;host="shop.example"');
    assert.equal(now("x-forwarded-for"), "2001:db8::1");
    assert.equal(now("x-forwarded-proto"), "https");
    assert.equal(forwarded([], anonymous(""), { policy })("forwarded"), "");
  });

  it("join a trace as it is, and begin one where there is none", () => {
    const joined = forwarded(["traceparent", TRACE, "tracestate", "a=b"], anonymous("10.0.0.1"));
    assert.deepEqual([joined("traceparent"), joined("tracestate")], [TRACE, "a=b"]);
    const before = forwarded(["tracestate", "a=b", "traceparent", TRACE], anonymous("10.0.0.1"));
    assert.deepEqual([before("traceparent"), before("tracestate")], [TRACE, "a=b"]);
    const later = `${TRACE.replace("00-", "01-")}-more`;
    assert.equal(forwarded(["traceparent", later], anonymous("10.0.0.1"))("traceparent"), later);
    const bad = [
      [],
      ["traceparent", `${TRACE}-more`],
      ["traceparent", `${TRACE}0`],
      ["traceparent", `${TRACE.replace("00-", "01-")}0`],
      ["traceparent", TRACE.toUpperCase()],
      ["traceparent", TRACE.replace("00f067aa0ba902b7", "0".repeat(16))],
      ["traceparent", "00-zz"],
      ["traceparent", TRACE.replace("00-", "ff-")],
      ["traceparent", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`],
      ["traceparent", TRACE, "traceparent", TRACE],
    ];
    for (const said of bad) {
      const begun = forwarded([...said, "tracestate", "a=b"], anonymous("10.0.0.1"));
      assert.match(begun("traceparent"), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/, said.join(" "));
      assert.notEqual(begun("traceparent"), TRACE);
      assert.equal(begun("tracestate"), "", "it belongs to the trace that was not joined");
    }
  });

  it("tell the client of a connection by address and port", () => {
    for (const [address, port] of [
      ["10.0.0.1", 1],
      ["2001:db8::1", 65_535],
    ] as const) {
      const exchange = exchangeOf([], anonymous(address, port));
      markSource(exchange);
      assert.deepEqual(sourceOf(exchange.head.fields), { address, port });
    }
    assert.equal(sourceOf(["forwarded", "for=unknown"]), undefined);
    assert.equal(sourceOf([]), undefined);
  });
});
