import { saveAuthority } from "#certs/authority/ca_files.ts";
import { type AuthorityMaterial, ClusterAuthority } from "#certs/authority/cluster_authority.ts";
import { newRequest } from "#certs/authority/keys.ts";
import { renewCaAt, renewLeafAt } from "#certs/authority/profiles.ts";
import { RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { authorityOf } from "#certs/workload/authority_of.ts";
import { askRenewal } from "#certs/workload/issuing_client.ts";
import { Renewer } from "#certs/workload/renewer.ts";
import { fail } from "#cli/exit.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { ok, type Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import { type ClusterName, parentOf } from "#model/names.ts";

/** What a control service signs with and is known by. */
export interface Identities {
  readonly authority: ClusterAuthority;
  readonly identity: RotatingIdentity;
  close(): void;
}

interface Ports {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
}

/** The CA of a cluster and its control service's own leaf, both renewed in time. */
export async function startIdentities(
  dir: string,
  material: AuthorityMaterial,
  parentApi: string | undefined,
  ports: Ports,
): Promise<Identities> {
  const { clock } = ports;
  const authority = new ClusterAuthority(material, clock);
  const id = controlId(material.cluster);
  const first = await authority.ownIdentity(id);
  if (!first.ok) throw fail(first.error);
  const identity = new RotatingIdentity(first.value);
  const leaf = new Renewer({
    ...ports,
    what: "identity",
    current: () => identity.current(),
    renewAt: renewLeafAt,
    renew: async () => {
      const renewed = await authority.ownIdentity(id);
      if (renewed.ok) identity.rotate(renewed.value);
      return renewed;
    },
  });
  const ca = new Renewer({
    ...ports,
    what: "certificate authority",
    current: () => authority.validity,
    renewAt: renewCaAt,
    renew: async () => {
      const renewed = await renewCa(material, { authority, identity, parentApi, clock });
      if (!renewed.ok) return renewed;
      await saveAuthority(dir, renewed.value);
      authority.replace(renewed.value);
      return ok(undefined);
    },
  });
  return {
    authority,
    identity,
    close: () => {
      leaf.close();
      ca.close();
    },
  };
}

/** The core's CA is signed anew by the root that is kept beside it, any other by its parent. */
async function renewCa(
  material: AuthorityMaterial,
  by: {
    authority: ClusterAuthority;
    identity: RotatingIdentity;
    parentApi: string | undefined;
    clock: Clock;
  },
): Promise<Result<AuthorityMaterial, string>> {
  const { authority, identity, parentApi, clock } = by;
  if (parentApi === undefined) {
    const { csrPem, keyPem } = await newRequest();
    const signed = await authority.resignSelf(csrPem);
    return signed.ok ? ok({ ...material, keyPem, chainPem: signed.value.chainPem }) : signed;
  }
  const parent = parentOf(material.cluster, material.mesh) as ClusterName;
  const place = {
    server: parentApi,
    expected: controlId(parent),
    as: identity.current(),
    clock,
  };
  const renewed = await askRenewal(place, "RenewAuthority");
  if (!renewed.ok) return renewed;
  const { keyPem, issued } = renewed.value;
  return authorityOf({ ...material, keyPem, chainPem: issued.chain }, clock);
}
