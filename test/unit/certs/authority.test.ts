import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mintToken, readToken, redeemToken, rootOf, TOKEN_TTL } from "#certs/attest/join_token.ts";
import { loadAuthority, saveAuthority } from "#certs/authority/ca_files.ts";
import { ClusterAuthority, createMesh } from "#certs/authority/cluster_authority.ts";
import { keyOfRequest, newRequest } from "#certs/authority/keys.ts";
import { BACKDATE, renewCaAt, renewLeafAt } from "#certs/authority/profiles.ts";
import { controlId, gatewayId, workloadId } from "#certs/identity/spiffe_id.ts";
import { loadMembership, saveMembership } from "#certs/workload/membership_file.ts";
import { Renewer } from "#certs/workload/renewer.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import { ChainVerifier } from "#certs/x509/verify.ts";
import { systemClock } from "#kernel/clock.ts";
import { writeAtomically } from "#kernel/files.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { err, ok } from "#kernel/result.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import { cluster, MESH, must, TestTree } from "#test/kit/mesh.ts";
import { MemoryTokenStore } from "#test/kit/tokens.ts";

const HOUR = 3_600_000;

describe("cluster authority", () => {
  const tree = new TestTree();

  it("issues what every other cluster verifies, three levels deep", async () => {
    const verifier = new ChainVerifier(
      certificatesOf((await tree.authority(cluster("core"))).rootsPem),
    );
    for (const name of ["core", "eu", "store-1.eu"].map(cluster)) {
      for (const id of [gatewayId(name), controlId(name), workloadId(name, "shop", "menu")]) {
        const { chainPem } = await tree.identity(id, name);
        const peer = verifier.verify(certificatesOf(chainPem), Date.now());
        assert.ok(peer.ok && peer.value.id === id, JSON.stringify(peer));
      }
    }
  });

  it("gives leaves an hour at the first level and half a day below", async () => {
    for (const [short, hours] of [
      ["core", 1],
      ["eu", 1],
      ["store-1.eu", 12],
    ] as const) {
      const { notBefore, notAfter } = await tree.identity(
        gatewayId(cluster(short)),
        cluster(short),
      );
      assert.ok(Math.abs(notAfter - notBefore - BACKDATE - hours * HOUR) < 2_000, short);
    }
  });

  it("signs no leaf of another cluster, no reserved path, and no other key", async () => {
    const authority = await tree.authority(cluster("eu"));
    const { csrPem } = await newRequest();
    for (const id of [
      gatewayId(cluster("us")),
      gatewayId(cluster("store-1.eu")),
      "spiffe://eu.acme.mesh/mesh/anything",
    ]) {
      assert.equal((await authority.issueLeaf(csrPem, id as never)).ok, false, id);
    }
    assert.equal((await keyOfRequest("nonsense")).ok, false);
    assert.equal((await keyOfRequest("x".repeat(100_000))).ok, false);
    const broken = csrPem.replace(/[A-Za-z]{4}(?=[^-]*-----END)/, "AAAA");
    assert.equal((await keyOfRequest(broken)).ok, false);
  });

  it("gives a child no more levels below it than it has itself, less one", async () => {
    const { csrPem } = await newRequest();
    const eu = await tree.authority(cluster("eu"));
    const signed = await eu.signChild(csrPem, cluster("store-9.eu"), 9);
    assert.ok(!signed.ok);
    assert.match(signed.error, /may have \d levels of clusters below it, so store-9\S+ at most \d/);
    assert.ok((await eu.signChild(csrPem, cluster("store-9.eu"), 0)).ok);
    const core = await tree.authority(cluster("core"));
    assert.ok((await core.signChild(csrPem, cluster("asia"), 9)).ok);
  });

  it("signs only its own children, and a leaf cluster nobody", async () => {
    const { csrPem } = await newRequest();
    const sign = async (by: string, child: string) =>
      (await (await tree.authority(cluster(by))).signChild(csrPem, cluster(child), 0)).ok;
    assert.equal(await sign("eu", "store-9.eu"), true);
    assert.equal(await sign("core", "asia"), true);
    for (const [by, child] of [
      ["eu", "us"],
      ["eu", "eu"],
      ["eu", "a.store-1.eu"],
      ["core", "store-1.eu"],
      ["core", "core"],
      ["eu", "core"],
    ] as const) {
      assert.equal(await sign(by, child), false, `${by} signs ${child}`);
    }
  });

  it("does not let a region without the root's key sign regions, nor lives longer than its issuer", async () => {
    const { rootKeyPem, ...material } = await createMesh(MESH, systemClock);
    assert.ok(rootKeyPem);
    const { csrPem } = await newRequest();
    const without = new ClusterAuthority(material, systemClock);
    assert.equal((await without.signChild(csrPem, cluster("eu"), 0)).ok, false);
    const later = new VirtualClock(Date.now() + 89.99 * 24 * HOUR);
    const old = new ClusterAuthority(material, later);
    const leaf = must(await old.issueLeaf(csrPem, gatewayId(cluster("core"))));
    assert.ok(leaf.notAfter <= old.validity.notAfter);
  });
});

describe("files of an authority", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-ca-"));
  });
  after(() => rm(dir, { recursive: true }));

  it("are read back as they were, with keys that nobody else can read", async () => {
    const material = await createMesh(MESH, systemClock);
    await saveAuthority(join(dir, "ca"), material);
    assert.deepEqual(must(await loadAuthority(join(dir, "ca"))), material);
    for (const name of ["cluster.key", "root.key"]) {
      assert.equal((await stat(join(dir, "ca", name))).mode & 0o777, 0o600);
    }
  });

  it("are the old ones or the new ones wherever a renewal is cut off, however often", async () => {
    const path = join(dir, "renewed");
    const made = await createMesh(MESH, systemClock);
    await saveAuthority(path, made);
    const authority = new ClusterAuthority(made, systemClock);
    const renewed = async () => {
      const { csrPem, keyPem } = await newRequest();
      return { ...made, keyPem, chainPem: must(await authority.resignSelf(csrPem)).chainPem };
    };
    const loaded = async () => must(await loadAuthority(path)).chainPem;
    for (let cut = 1; cut <= 4; cut++) {
      for (const isWritten of [false, true, true, false, false]) {
        const before = await loaded();
        const next = await renewed();
        let writes = 0;
        const failing: typeof writeAtomically = async (...file) => {
          writes++;
          if (writes !== cut || isWritten) await writeAtomically(...file);
          if (writes === cut) throw new Error("no space left on device");
        };
        await assert.rejects(saveAuthority(path, next, failing), /no space/);
        const after = cut === 4 && isWritten ? next.chainPem : before;
        assert.equal(await loaded(), after, `write ${cut}, written: ${isWritten}`);
      }
    }
    const last = await renewed();
    await saveAuthority(path, last);
    assert.deepEqual(must(await loadAuthority(path)), last);
  });

  it("are refused when they do not belong together", async () => {
    const problem = async (): Promise<string> => {
      const loaded = await loadAuthority(join(dir, "ca"));
      return loaded.ok ? "" : loaded.error;
    };
    const key = join(dir, "ca", "cluster.key");
    const good = await readFile(key, "utf8");
    await writeFile(key, (await createMesh(MESH, systemClock)).keyPem);
    assert.match(await problem(), /not the key of/);
    await writeFile(key, "garbage");
    assert.match(await problem(), /not the key of/);
    await writeFile(key, good);
    await writeFile(join(dir, "ca", "cluster.pem"), "garbage");
    assert.match(await problem(), /no certificate/);
    await rm(join(dir, "ca"), { recursive: true });
    assert.match(await problem(), /espalier ca init/);
  });

  it("of a proxy's membership as well", async () => {
    const path = join(dir, "membership.json");
    assert.equal((await loadMembership(path)).ok, false);
    const identity = await new TestTree().identity(gatewayId(cluster("core")), cluster("core"));
    await saveMembership(path, { identity, api: "a:1" });
    assert.deepEqual(must(await loadMembership(path)), { identity, api: "a:1" });
    await writeFile(path, "{");
    assert.equal((await loadMembership(path)).ok, false);
  });
});

describe("join tokens", () => {
  const about = async () => ({
    enrol: "core:15011",
    by: "core.acme.mesh",
    subject: { kind: "cluster", cluster: "eu.acme.mesh", tiers: 1 } as const,
    rootsPem: (await createMesh(MESH, systemClock)).rootsPem,
  });

  it("are good once, and only in time", async () => {
    const store = new MemoryTokenStore();
    const said = await about();
    const { text, record } = mintToken(said, 1_000);
    store.put(record);
    const token = must(readToken(`  ${text}\n`));
    assert.deepEqual(certificatesOf(rootOf(token)), certificatesOf(said.rootsPem));
    assert.deepEqual(must(redeemToken(store, token.secret, 2_000)), said.subject);
    assert.equal(redeemToken(store, token.secret, 2_000).ok, false, "twice");
    const late = mintToken(said, 0);
    store.put(late.record);
    const lateSecret = must(readToken(late.text)).secret;
    assert.equal(redeemToken(store, lateSecret, TOKEN_TTL + 1).ok, false, "late");
    assert.equal(redeemToken(store, "guessed", 0).ok, false);
  });

  it("do not stand in the record", async () => {
    const { text, record } = mintToken(await about(), 0);
    assert.ok(!JSON.stringify(record).includes(must(readToken(text)).secret));
  });

  for (const text of ["", "garbage", "e30", Buffer.from('{"v":1}').toString("base64url")]) {
    it(`are not ${JSON.stringify(text)}`, () => assert.equal(readToken(text).ok, false));
  }
});

describe("renewal", () => {
  it("comes at half of a leaf's life and a third of a CA's, spread out", () => {
    assert.equal(renewLeafAt(0, 100, 0), 45);
    assert.equal(Math.round(renewLeafAt(0, 100, 1)), 55);
    assert.equal(renewCaAt(0, 100, 0), 30);
    assert.ok(renewCaAt(0, 100, 1) < 37);
  });

  it("tries on while it fails, and keeps what it has", async () => {
    const clock = new VirtualClock(0);
    const log = new MemoryLogger();
    let current = { notBefore: 0, notAfter: HOUR };
    let calls = 0;
    const renewer = new Renewer({
      what: "identity",
      clock,
      rng: seededRng(1),
      log,
      current: () => current,
      renewAt: renewLeafAt,
      renew: async () => {
        calls++;
        if (calls < 4) return err("parent is away");
        current = { notBefore: clock.wall(), notAfter: clock.wall() + HOUR };
        return ok(undefined);
      },
    });
    await clock.advanceAsync(0.44 * HOUR);
    assert.equal(calls, 0);
    await clock.advanceAsync(0.2 * HOUR);
    assert.equal(calls, 4);
    assert.equal(log.lines.filter(({ level }) => level === "warn").length, 3);
    await clock.advanceAsync(HOUR);
    assert.ok(calls >= 5, "and again in time");
    renewer.close();
    const before = calls;
    await clock.advanceAsync(10 * HOUR);
    assert.equal(calls, before);
  });
});
