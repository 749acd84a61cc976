import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { loadAuthority, saveAuthority } from "#certs/authority/ca_files.ts";
import {
  type AuthorityMaterial,
  ClusterAuthority,
  createMesh,
  type Issued,
} from "#certs/authority/cluster_authority.ts";
import { newRequest } from "#certs/authority/keys.ts";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { type Identities, startIdentities } from "#cli/control/identities.ts";
import { ApiServer } from "#control/api/api_server.ts";
import { SnapshotHub } from "#control/api/snapshot_hub.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { ok, type Result } from "#kernel/result.ts";
import { systemRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import { cluster, MESH, must } from "#test/kit/mesh.ts";
import { until } from "#test/kit/processes.ts";
import { MemoryTokenStore } from "#test/kit/tokens.ts";

const CORE = cluster("core");
const EU = cluster("eu");
const DAY = 86_400_000;
const ANY_PORT = { address: "127.0.0.1", port: 0 };

/** A parent that may answer with something else than it should. */
class Parent extends ClusterAuthority {
  instead: ((csr: string) => Promise<string>) | undefined = undefined;

  override async signChild(
    csr: string,
    child: ClusterName,
    tiers: number,
  ): Promise<Result<Issued, string>> {
    const signed = must(await super.signChild(csr, child, tiers));
    if (this.instead === undefined) return ok(signed);
    return ok({ ...signed, chainPem: await this.instead(csr) });
  }
}

describe("a CA that its parent renews", { timeout: 60_000 }, () => {
  let dir: string;
  let core: AuthorityMaterial;
  let parent: Parent;
  let api: ApiServer;
  let identities: Identities | undefined;
  const log = new MemoryLogger();

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-renewal-"));
    core = await createMesh(MESH, new VirtualClock(Date.now() - 50 * DAY));
    parent = new Parent(core, systemClock);
    api = must(
      await ApiServer.open({
        listen: ANY_PORT,
        enrol: ANY_PORT,
        identity: new RotatingIdentity(must(await parent.ownIdentity(controlId(CORE)))),
        hub: new SnapshotHub(() => {}),
        clock: systemClock,
        log: new MemoryLogger(),
        context: {
          mesh: MESH,
          cluster: CORE,
          authority: parent,
          tokens: new MemoryTokenStore(),
          clock: systemClock,
          child: () => ({ tiers: 1 }),
          registerChild: async () => {},
          places: () => ({ api: "", bus: "" }),
        },
      }),
    );
  });
  after(async () => {
    identities?.close();
    api.close();
    await rm(dir, { recursive: true });
  });

  it("is not replaced by another cluster's, of another key, or by nonsense", async () => {
    const before = await middleAged();
    await saveAuthority(dir, before);
    const stranger = new ClusterAuthority(await createMesh(MESH, systemClock), systemClock);
    const signed = async (by: ClusterAuthority, csr: string, child: ClusterName) =>
      must(await by.signChild(csr, child, 0)).chainPem;
    const honest = new ClusterAuthority(core, systemClock);
    const answers: Array<(csr: string) => Promise<string>> = [
      async () => "nonsense",
      async () => (await middleAged()).chainPem,
      (csr) => signed(honest, csr, cluster("us")),
      (csr) => signed(stranger, csr, EU),
    ];
    parent.instead = async (csr) => (await answers.shift()?.(csr)) ?? "nothing more";
    identities = await startIdentities(dir, before, `127.0.0.1:${api.api.port}`, {
      clock: systemClock,
      rng: systemRng(),
      log,
    });
    await until("all were tried", () => problems().length > 3, 30_000);
    const expected = [/no certificate/, /another key/, /outside the issuer/, /no path to the root/];
    expected.forEach((problem, i) => void assert.match(problems()[i]!, problem));
    assert.deepEqual(must(await loadAuthority(dir)), before);
    const { notAfter } = identities.authority.validity;
    parent.instead = undefined;
    await until("a good one is taken", () => identities!.authority.validity.notAfter > notAfter);
    assert.notEqual(must(await loadAuthority(dir)).keyPem, before.keyPem);
  });

  /** A CA of `EU` that is due for renewal. */
  async function middleAged(): Promise<AuthorityMaterial> {
    const { csrPem, keyPem } = await newRequest();
    const then = new ClusterAuthority(core, new VirtualClock(Date.now() - 40 * DAY));
    const { chainPem } = must(await then.signChild(csrPem, EU, 1));
    return { mesh: MESH, cluster: EU, chainPem, keyPem, rootsPem: core.rootsPem };
  }

  function problems(): string[] {
    return log.lines.flatMap(({ message, fields }) =>
      message === "certificate authority not renewed" ? [String(fields?.["error"])] : [],
    );
  }
});
