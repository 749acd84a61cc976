import "reflect-metadata";
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { Extension, KeyUsageFlags } from "@peculiar/x509";
import { EKU, parseCertificate } from "#certs/x509/certificate.ts";
import { ChainVerifier } from "#certs/x509/verify.ts";
import { type Forged, type Forgery, forge, uri } from "#test/kit/forge.ts";

const DAY = 86_400_000;
const STORE = "store-7.eu.acme.mesh";
const GOOD_ID = uri(`${STORE}/mesh/gateway`);

describe("chain verifier", () => {
  let root: Forged;
  let region: Forged;
  let store: Forged;
  let verifier: ChainVerifier;

  const ca = (domain: string, by: Forged, more: Forgery = {}): Promise<Forged> =>
    forge({ ca: true, names: [uri(domain)], constraints: domain, by, ...more });
  const leaf = (more: Forgery = {}): Promise<Forged> =>
    forge({ names: [GOOD_ID], by: store, ...more });

  before(async () => {
    root = await forge({ ca: true, names: [uri("acme.mesh")], constraints: "acme.mesh" });
    region = await ca("eu.acme.mesh", root, { pathLen: 1 });
    store = await ca(STORE, region, { pathLen: 0, constraintsBelow: false });
    verifier = new ChainVerifier([root.der]);
  });

  const verify = (chain: readonly Forged[], at = Date.now()) =>
    verifier.verify(
      chain.map(({ der }) => der),
      at,
    );
  const usual = async (forged: Promise<Forged>): Promise<Forged[]> => [await forged, store, region];

  it("accepts a good leaf, in any order of its issuers and with a root that is sent along", async () => {
    const good = await leaf();
    for (const chain of [
      [good, store, region],
      [good, region, store],
      [good, store, region, root],
    ]) {
      const peer = verify(chain);
      assert.ok(peer.ok, JSON.stringify(peer));
      assert.deepEqual(
        [peer.value.id, peer.value.cluster],
        [`spiffe://${STORE}/mesh/gateway`, STORE],
      );
    }
  });

  it("ends with the earliest end on the path", async () => {
    const short = await ca(STORE, region, { pathLen: 0, notAfter: Date.now() + 60_000 });
    const good = await forge({ names: [GOOD_ID], by: short });
    const peer = verify([good, short, region]);
    assert.ok(peer.ok && peer.value.notAfter < Date.now() + 61_000);
    assert.equal(
      verify([good, short, region], Date.now() + 120_000).ok,
      false,
      "also from the cache",
    );
  });

  const HOSTILE_IDS = [
    ["another cluster", "core.acme.mesh/mesh/gateway"],
    ["its sibling", "store-8.eu.acme.mesh/mesh/gateway"],
    ["its parent", "eu.acme.mesh/mesh/gateway"],
    ["the root's domain", "acme.mesh/mesh/gateway"],
    ["a domain below it", `x.${STORE}/mesh/gateway`],
    ["a look-alike in front", `evil${STORE}/mesh/gateway`],
    ["a look-alike behind", `${STORE}.evil.com/mesh/gateway`],
    ["a user in the host", `${STORE}:x@core.acme.mesh/mesh/gateway`],
    ["a port", `${STORE}:443/mesh/gateway`],
    ["a question mark", `core.acme.mesh?x.${STORE}/y`],
    ["a hash", `core.acme.mesh#x.${STORE}/y`],
    ["a backslash", `core.acme.mesh\\x.${STORE}/y`],
    ["a NUL", `${STORE}\0.core.acme.mesh/y`],
    ["upper case", `${STORE.toUpperCase()}/mesh/gateway`],
    ["a percent sign", `${STORE}/a%2fb`],
    ["dot segments", `${STORE}/a/../b`],
    ["an empty segment", `${STORE}/a//b`],
    ["a slash at the end", `${STORE}/a/`],
    ["a dot behind the host", `${STORE}./a`],
    ["no path", STORE],
    ["no host", "/a"],
    ["a newline", `${STORE}/a\nURI:spiffe://core.acme.mesh/b`],
    ["a comma", `${STORE}/a, URI:spiffe://core.acme.mesh/b`],
    ["a path that is reserved", `${STORE}/mesh/root`],
  ] as const;
  for (const [what, id] of HOSTILE_IDS) {
    it(`refuses a leaf whose id has ${what}`, async () => {
      const peer = verify(await usual(leaf({ names: [uri(id)] })));
      assert.equal(peer.ok, false, JSON.stringify(peer));
    });
  }

  const HOSTILE_LEAVES: ReadonlyArray<readonly [string, () => Forgery]> = [
    ["another scheme", () => ({ names: [{ type: "url", value: `https://${STORE}/a` }] })],
    ["no names", () => ({ names: [] })],
    ["no names but a common name", () => ({ names: [], subject: "CN=menu" })],
    ["only a DNS name", () => ({ names: [{ type: "dns", value: STORE }] })],
    ["two ids of its own", () => ({ names: [GOOD_ID, uri(`${STORE}/b`)] })],
    ["an id of its own and core's", () => ({ names: [GOOD_ID, uri("core.acme.mesh/b")] })],
    ["an e-mail address", () => ({ names: [GOOD_ID, { type: "email", value: "a@b.c" }] })],
    ["an IP address", () => ({ names: [GOOD_ID, { type: "ip", value: "10.0.0.1" }] })],
    ["core's DNS name", () => ({ names: [GOOD_ID, { type: "dns", value: "core.acme.mesh" }] })],
    ["the CA bit", () => ({ ca: true, constraints: null })],
    [
      "keyCertSign",
      () => ({ keyUsage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign }),
    ],
    ["no key usage", () => ({ keyUsage: 0 })],
    ["no extended key usage", () => ({ eku: [] })],
    ["only serverAuth", () => ({ eku: [EKU.serverAuth] })],
    [
      "an unknown critical extension",
      () => ({ extra: [new Extension("1.2.3.4", true, new Uint8Array([5, 0]))] }),
    ],
    ["an end in the past", () => ({ notAfter: Date.now() - 1_000 })],
    [
      "a start in the future",
      () => ({ notBefore: Date.now() + DAY, notAfter: Date.now() + 2 * DAY }),
    ],
    ["a P-384 key", () => ({ algorithm: "P-384" })],
    ["an RSA key", () => ({ algorithm: "RSA" })],
  ];
  for (const [what, forgery] of HOSTILE_LEAVES) {
    it(`refuses a leaf with ${what}`, async () => {
      const peer = verify(await usual(leaf(forgery())));
      assert.equal(peer.ok, false, JSON.stringify(peer));
    });
  }

  it("refuses chains that no good CA has made", async () => {
    const refuse = async (what: string, chain: readonly Forged[]): Promise<void> => {
      const peer = verify(chain);
      assert.equal(peer.ok, false, `${what}: ${JSON.stringify(peer)}`);
    };
    const good = await leaf();
    await refuse("missing intermediate", [good, region]);
    await refuse("nothing but the leaf", [good]);
    await refuse("a leaf of the root", [await leaf({ by: root })]);
    await refuse("a leaf of its grandparent", [await leaf({ by: region }), region]);
    await refuse("a leaf that signs", [await leaf({ by: good }), good, store, region]);
    await refuse("a self-signed leaf", [await forge({ names: [GOOD_ID] })]);
    const self = await forge({
      ca: true,
      subject: store.subject,
      by: store,
      names: [uri(STORE)],
      constraints: STORE,
    });
    await refuse("a self-issued CA", [await leaf({ by: self }), self, store, region]);
    const sub = await ca(`x.${STORE}`, store);
    await refuse("a CA below pathLen 0", [
      await forge({ names: [uri(`x.${STORE}/a`)], by: sub }),
      sub,
      store,
      region,
    ]);
    const wide = await ca("core.acme.mesh", store, { constraints: "acme.mesh" });
    await refuse("a CA of another domain", [
      await forge({ names: [uri("core.acme.mesh/a")], by: wide }),
      wide,
      store,
      region,
    ]);
    // Whatever a careless parent has allowed by its constraints, the binding rule holds.
    const careless = await ca("eu.acme.mesh", root, { constraints: "acme.mesh" });
    const cousin = await ca("store-1.us.acme.mesh", careless);
    await refuse("a CA for another region", [
      await forge({ names: [uri("store-1.us.acme.mesh/mesh/gateway")], by: cousin }),
      cousin,
      careless,
    ]);
    await refuse("a leaf for another region", [
      await forge({ names: [uri("us.acme.mesh/mesh/gateway")], by: careless }),
      careless,
    ]);
    for (const more of [{ constraints: null }, { constraintsCritical: false }]) {
      const loose = await ca(STORE, region, more);
      const what = `a CA ${JSON.stringify(more)}`;
      await refuse(what, [await leaf({ by: loose }), loose, region]);
    }
    const expired = await ca(STORE, region, {
      notBefore: Date.now() - DAY,
      notAfter: Date.now() - 1_000,
    });
    await refuse("an expired CA", [await leaf({ by: expired }), expired, region]);
    const other = await forge({
      ca: true,
      subject: root.subject,
      names: [uri("acme.mesh")],
      constraints: "acme.mesh",
    });
    const region2 = await ca("eu.acme.mesh", other);
    const store2 = await ca(STORE, region2);
    await refuse("another root of the same name", [
      await leaf({ by: store2 }),
      store2,
      region2,
      other,
    ]);
    const fake = await forge({
      ca: true,
      subject: region.subject,
      by: store,
      names: [uri("eu.acme.mesh")],
      constraints: "eu.acme.mesh",
    });
    await refuse("a fake of its own issuer", [
      await forge({ names: [uri("eu.acme.mesh/mesh/gateway")], by: fake }),
      fake,
      store,
      region,
    ]);
    await refuse("too many", [good, ...Array<Forged>(8).fill(store)]);
  });

  it("finds the real issuer beside forged ones of the same name", async () => {
    const fake = await forge({
      ca: true,
      subject: store.subject,
      names: [uri("core.acme.mesh")],
      notAfter: Date.now() - 1_000,
    });
    const peer = verify([await leaf(), fake, store, region]);
    assert.ok(peer.ok && peer.value.cluster === STORE, JSON.stringify(peer));
  });
});

describe("DER reader", () => {
  it("takes no input that is not exactly a certificate, whatever a byte is changed to", async () => {
    const { der } = await forge({ names: [GOOD_ID] });
    assert.equal(parseCertificate(der).ok, true);
    assert.equal(parseCertificate(Buffer.concat([der, Buffer.from([0])])).ok, false);
    for (let length = 0; length < der.length; length++) {
      assert.equal(parseCertificate(der.subarray(0, length)).ok, false, `cut at ${length}`);
    }
    for (let at = 0; at < der.length; at++) {
      for (const bits of [0x01, 0x80, 0xff]) {
        const changed = Buffer.from(der);
        changed[at]! ^= bits;
        // No verdict is asked for: only that it neither throws nor runs on.
        parseCertificate(changed);
      }
    }
  });

  it("refuses what is too large", () => {
    assert.equal(parseCertificate(new Uint8Array(100_000)).ok, false);
  });
});
