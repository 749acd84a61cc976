import { type AuthorityMaterial, ClusterAuthority } from "#certs/authority/cluster_authority.ts";
import { isKeyOf } from "#certs/authority/keys.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { identityOf } from "#certs/workload/identity_of.ts";
import { parseCertificate } from "#certs/x509/certificate.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/**
 * A cluster's CA that an issuer has sent, once it has been found good: it must be of this key, and what
 * it signs for this cluster must verify by this mesh's roots.
 */
export async function authorityOf(
  material: AuthorityMaterial,
  clock: Clock,
): Promise<Result<AuthorityMaterial, string>> {
  const problem = await problemOf(material, clock);
  return problem === undefined ? ok(material) : err(`the issued CA is not good: ${problem}`);
}

async function problemOf(material: AuthorityMaterial, clock: Clock): Promise<string | undefined> {
  const { cluster, chainPem, keyPem, rootsPem } = material;
  const first = certificatesOf(chainPem)[0];
  const ca = first === undefined ? err("no certificate") : parseCertificate(first);
  if (!ca.ok) return ca.error;
  if (!isKeyOf(ca.value.spki, keyPem)) return "of another key";
  const leaf = await new ClusterAuthority(material, clock).ownIdentity(controlId(cluster));
  if (!leaf.ok) return leaf.error;
  const issued = { chain: leaf.value.chainPem, roots: rootsPem };
  const known = identityOf(issued, leaf.value.keyPem, clock.wall());
  return known.ok ? undefined : known.error;
}
