import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { proxyHeader, readProxyHeader, type Source } from "#proxy/listen/proxy_protocol.ts";

const V4: Source = { address: "192.0.2.1", port: 5_000 };
const V6: Source = { address: "2001:db8:0:0:0:0:0:1", port: 5_001 };

function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

describe("PROXY protocol", () => {
  const target4 = { address: "198.51.100.9", port: 443 };
  const target6 = { address: "2001:db8::2", port: 443 };

  it("reads what it writes, cut anywhere", () => {
    for (const version of ["v1", "v2"] as const) {
      for (const [source, target] of [
        [V4, target4],
        [V6, target6],
      ] as const) {
        const header = proxyHeader(version, source, target);
        const all = Buffer.concat([header, bytes("GET / HTTP/1.1\r\n")]);
        for (let length = 0; length < header.length; length++) {
          assert.equal(readProxyHeader(all.subarray(0, length)).kind, "more", `${length}`);
        }
        for (const given of [header, all]) {
          assert.deepEqual(readProxyHeader(given), {
            kind: "header",
            length: header.length,
            source,
          });
        }
      }
    }
  });

  it("reads headers of other programs, TLVs skipped", () => {
    const v1 = bytes("PROXY TCP4 10.1.2.3 10.0.0.1 40000 80\r\n");
    assert.deepEqual(readProxyHeader(v1), {
      kind: "header",
      length: v1.length,
      source: { address: "10.1.2.3", port: 40_000 },
    });
    const v2 = Buffer.concat([
      bytes("\r\n\r\n\0\r\nQUIT\n"),
      Buffer.from([0x21, 0x11, 0, 17, 10, 1, 2, 3, 10, 0, 0, 1, 0x9c, 0x40, 0, 80, 4, 0, 2, 1, 2]),
    ]);
    assert.deepEqual(readProxyHeader(v2), {
      kind: "header",
      length: v2.length,
      source: { address: "10.1.2.3", port: 40_000 },
    });
  });

  it("takes a balancer that speaks for itself for what it is", () => {
    const local = Buffer.concat([bytes("\r\n\r\n\0\r\nQUIT\n"), Buffer.from([0x20, 0, 0, 0])]);
    const unknown = bytes("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n");
    for (const header of [local, unknown, proxyHeader("v1", undefined, target4)]) {
      const length = header.length;
      assert.deepEqual(readProxyHeader(header), { kind: "header", length, source: undefined });
    }
    assert.deepEqual(proxyHeader("v2", V4, target6), proxyHeader("v2", undefined, target4));
  });

  it("refuses everything else", () => {
    const signature = "\r\n\r\n\0\r\nQUIT\n";
    for (const text of [
      "GET / HTTP/1.1\r\n",
      "PROXZ",
      "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
      "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
      "PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
      "PROXY TCP6 1::2::3 ::1 1 2\r\n",
      "PROXY TCP4 1.2.3.4 1.2.3.4 70000 2\r\n",
      `PROXY TCP4 ${"1".repeat(120)}`,
      `${signature}\x11\x11\0\x0c${"a".repeat(12)}`,
      `${signature}\x22\x11\0\x0c${"a".repeat(12)}`,
      `${signature}\x21\x11\0\x04aaaa`,
      `${signature}\x21\x21\0\x0c${"a".repeat(12)}`,
      `${signature}\x21\x11\xff\xff`,
    ]) {
      assert.equal(readProxyHeader(bytes(text)).kind, "bad", JSON.stringify(text));
    }
  });
});
