import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterName } from "#model/names.ts";
import { setForwarding } from "#proxy/authorize/forwarding.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";

const SELF = "eu.acme.mesh";

describe("forwarding fields", () => {
  it("of an anonymous client are ours alone", () => {
    const fields = [
      ...[
        "x-forwarded-for",
        "1.2.3.4",
        "x-a",
        "1",
        "forwarded",
        "for=1.2.3.4",
        "x-real-ip",
        "1.2.3.4",
      ],
      ...[
        "x-forwarded-host",
        "evil",
        "x-forwarded-proto",
        "https",
        "x-forwarded-port",
        "443",
        "from",
        "me",
      ],
    ];
    setForwarding(fields, anonymous("::ffff:10.0.0.1"), "shop.example", SELF);
    assert.deepEqual(fields, [
      ...["x-a", "1", "from", "me", "x-forwarded-for", "10.0.0.1", "x-forwarded-proto", "http"],
      ...["x-forwarded-host", "shop.example", "via", "1.1 eu.acme.mesh"],
    ]);
  });

  it("of a proxy of the mesh stay, and we only say that it passed by us", () => {
    const gateway: Peer = {
      kind: "gateway",
      address: "10.0.0.9",
      id: "spiffe://us.acme.mesh/mesh/gateway",
      cluster: "us.acme.mesh" as ClusterName,
    };
    const fields = ["x-forwarded-for", "10.0.0.1", "via", "1.1 us.acme.mesh"];
    setForwarding(fields, gateway, "menu", SELF);
    assert.deepEqual(fields, [
      ...["x-forwarded-for", "10.0.0.1", "via", "1.1 us.acme.mesh", "via", "1.1 eu.acme.mesh"],
    ]);
  });

  it("name IPv6 clients as they are, and nobody who is gone already", () => {
    const six: string[] = [];
    setForwarding(six, anonymous("2001:db8::1"), "a", SELF);
    assert.deepEqual(six.slice(0, 2), ["x-forwarded-for", "2001:db8::1"]);
    const gone: string[] = [];
    setForwarding(gone, anonymous(""), "a", SELF);
    assert.equal(gone.includes("x-forwarded-for"), false);
  });
});
