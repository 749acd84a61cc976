import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import type { KeySource } from "#model/traffic_policy.ts";
import { asShare, hashText, mix32 } from "#proxy/balance/hash.ts";
import { hashOf, keyOf } from "#proxy/balance/request_hash.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";

const GATEWAY: Peer = {
  ...{ kind: "gateway", address: "10.0.0.9", cluster: "eu.acme.mesh" as ClusterName },
  id: "spiffe://eu.acme.mesh/mesh/gateway",
};
const WORKLOAD: Peer = { ...GATEWAY, kind: "workload", id: "spiffe://eu.acme.mesh/ns/a/sa/b" };

function key(
  source: KeySource,
  fields: string[] = [],
  { target = "/", peer = anonymous("192.0.2.1"), caller = "" } = {} as {
    target?: string;
    peer?: Peer;
    caller?: string;
  },
): string | undefined {
  const head = {
    ...{ method: "GET", target, authority: "a", fields, body: 0 },
    ...{ upgrade: undefined, takesTrailers: false },
  };
  return keyOf(source, { head, peer, caller });
}

describe("the key of a request", () => {
  it("is a header's value; without it, or empty, there is none", () => {
    const source: KeySource = { type: "Header", name: "X-User" };
    assert.equal(key(source, ["x-user", "ann"]), "ann");
    assert.equal(key(source, ["x-user", ""]), undefined);
    assert.equal(key(source, ["x-other", "ann"]), undefined);
  });

  it("is a cookie's value, of that very name", () => {
    const source: KeySource = { type: "Cookie", name: "sid" };
    assert.equal(key(source, ["cookie", "xsid=1; sid=2; sid=3"]), "2");
    assert.equal(key(source, ["cookie", "a=1", "cookie", "sid=2"]), "2");
    for (const cookies of ["", "sid", "sid=", "=sid", "SID=2", ";;=;"]) {
      assert.equal(key(source, ["cookie", cookies]), undefined, cookies);
    }
  });

  it("is a parameter of the query, as it stands there", () => {
    const source: KeySource = { type: "QueryParameter", name: "user" };
    assert.equal(key(source, [], { target: "/a?b=1&user=a%20b&user=c" }), "a%20b");
    for (const target of ["/user=1", "/?xuser=1", "/?user", "/?user=", "/?"]) {
      assert.equal(key(source, [], { target }), undefined, target);
    }
  });

  it("is the client's address, at every gateway the same", () => {
    const source: KeySource = { type: "SourceAddress" };
    assert.equal(key(source), "192.0.2.1");
    const direct = ["x-forwarded-for", "192.0.2.1"];
    assert.equal(key(source, direct), "192.0.2.1");
    assert.equal(key(source, direct, { peer: GATEWAY }), "192.0.2.1");
    const balanced = ["x-forwarded-for", "6.6.6.6, 198.51.100.7, 192.0.2.1"];
    assert.equal(key(source, balanced), "198.51.100.7");
    assert.equal(key(source, balanced, { peer: GATEWAY }), "198.51.100.7");
    const connection = ["forwarded", 'for="[2001:db8::1]:4711"'];
    assert.equal(key(source, connection, { peer: GATEWAY }), "2001:db8::1");
    assert.equal(key(source, [], { peer: anonymous("") }), undefined);
  });

  it("is the caller that mTLS has proved, else the address", () => {
    const source: KeySource = { type: "Caller" };
    assert.equal(key(source, [], { peer: WORKLOAD }), WORKLOAD.id);
    const caller = `${WORKLOAD.id},${GATEWAY.id}`;
    assert.equal(key(source, [], { peer: GATEWAY, caller }), WORKLOAD.id);
    assert.equal(key(source), "192.0.2.1");
  });

  it("gives the same 32 bits everywhere; without one there are none", () => {
    const head = {
      ...{ method: "GET", target: "/", authority: "a", fields: ["x-user", "ann"], body: 0 },
      ...{ upgrade: undefined, takesTrailers: false },
    };
    const of = (name: string) =>
      hashOf({ type: "Header", name }, { head, peer: GATEWAY, caller: "" });
    assert.equal(of("x-user"), hashText("ann"));
    assert.equal(of("x-other"), undefined);
  });
});

describe("hashes", () => {
  it("spread texts that are nearly alike over all 32 bits", () => {
    const buckets = new Array<number>(64).fill(0);
    for (let i = 0; i < 64_000; i++) buckets[Math.floor(asShare(hashText(`user-${i}`)) * 64)]!++;
    for (const count of buckets) assert.ok(count > 850 && count < 1_150, `${count}`);
    const low = new Array<number>(64).fill(0);
    for (let i = 0; i < 64_000; i++) low[mix32(i) & 63]!++;
    for (const count of low) assert.ok(count > 850 && count < 1_150, `${count}`);
  });

  it("stay as they are: other proxies, of other versions, compute them too", () => {
    const hashes = [hashText("a"), hashText("menu.shop"), mix32(1)];
    assert.deepEqual(hashes, [444_641_715, 2_472_728_650, 0x514e28b7]);
  });
});
