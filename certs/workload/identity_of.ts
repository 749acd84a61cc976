import type { Identity } from "#certs/identity/identity.ts";
import { parseCertificate } from "#certs/x509/certificate.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import { ChainVerifier } from "#certs/x509/verify.ts";
import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/**
 * The identity that an issued chain and our key make, once it has been found good: what does not verify
 * here would not verify anywhere.
 */
export function identityOf(
  issued: { readonly chain: string; readonly roots: string },
  keyPem: string,
  wall: Millis,
): Result<Identity, string> {
  const chain = certificatesOf(issued.chain);
  const peer = new ChainVerifier(certificatesOf(issued.roots)).verify(chain, wall);
  if (!peer.ok) return err(`the issued certificate is not good: ${peer.error}`);
  const leaf = parseCertificate(chain[0]!);
  if (!leaf.ok) return leaf;
  return ok({
    id: peer.value.id,
    cluster: peer.value.cluster,
    chainPem: issued.chain,
    keyPem,
    rootsPem: issued.roots,
    notBefore: leaf.value.notBefore,
    notAfter: peer.value.notAfter,
  });
}
