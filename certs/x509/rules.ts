import { parseDomainId, parseSpiffeId, roleOf, trustDomainOf } from "#certs/identity/spiffe_id.ts";
import { type Certificate, EKU, KEY_USAGE, type NameConstraints } from "#certs/x509/certificate.ts";
import { isWithin } from "#model/names.ts";

/*
 * What a certificate of this mesh may look like, and what its issuer may say (reference: identity,
 * §5 and §5.1). Each rule returns what is wrong, or undefined.
 */

/** Leaf profile: one SPIFFE id, DNS names only of its own cluster, no authority over others. */
export function leafProblem(leaf: Certificate): string | undefined {
  const { extensions: e } = leaf;
  if (e.isCa) return "a CA may not be a peer";
  if (e.keyUsage !== KEY_USAGE.digitalSignature) return "key usage";
  const eku = e.extendedKeyUsage ?? [];
  if (!eku.includes(EKU.serverAuth) || !eku.includes(EKU.clientAuth)) return "extended key usage";
  if (e.nameConstraints !== undefined) return "name constraints in a leaf";
  if (e.uris.length !== 1 || e.otherNames > 0) return "not exactly one SPIFFE id";
  const id = parseSpiffeId(e.uris[0]!);
  if (!id.ok) return id.error;
  if (roleOf(id.value) === undefined) return "reserved path";
  const cluster = trustDomainOf(id.value);
  if (!e.dnsNames.every((name) => isWithin(name, cluster))) return "DNS name of another cluster";
  return undefined;
}

/** The trust domain of a signing certificate; undefined if it does not have exactly one. */
export function domainOf(ca: Certificate): string | undefined {
  const { uris, dnsNames, otherNames } = ca.extensions;
  if (uris.length !== 1 || dnsNames.length > 0 || otherNames > 0) return undefined;
  return parseDomainId(uris[0]!);
}

/** Profile of a cluster's CA. @param below CAs between it and the leaf. */
export function clusterCaProblem(ca: Certificate, below: number): string | undefined {
  if (ca.subject === ca.issuer) return "self-issued intermediate";
  const { nameConstraints } = ca.extensions;
  if (nameConstraints === undefined || !nameConstraints.critical) return "no name constraints";
  return anyCaProblem(ca, below);
}

/** What holds for the root as well. */
export function anyCaProblem(ca: Certificate, below: number): string | undefined {
  const { extensions: e } = ca;
  if (!e.isCa || !e.basicConstraintsCritical) return "issuer is not a CA";
  if (e.keyUsage === undefined || (e.keyUsage & KEY_USAGE.keyCertSign) === 0) return "key usage";
  if (e.pathLen !== undefined && below > e.pathLen) return "path length";
  if (domainOf(ca) === undefined) return "CA without exactly one trust domain";
  return undefined;
}

/** Applies a CA's name constraints to the names of one certificate below it. */
export function constraintProblem(
  constraints: NameConstraints | undefined,
  below: Certificate,
): string | undefined {
  if (constraints === undefined) return undefined;
  if (constraints.excludesNames) return "excluded names are not understood";
  for (const uri of below.extensions.uris) {
    const host = uri.slice("spiffe://".length).split("/", 1)[0]!;
    if (!constraints.permittedUris.some((base) => uriPermits(base, host))) {
      return `${host} is outside the issuer's name constraints`;
    }
  }
  for (const name of below.extensions.dnsNames) {
    if (!constraints.permittedDns.some((base) => isWithin(name, base))) {
      return "DNS name outside the issuer's name constraints";
    }
  }
  return undefined;
}

/** RFC 5280: with a leading dot every name below it, without exactly that host. */
function uriPermits(base: string, host: string): boolean {
  return base.startsWith(".") ? host.endsWith(base) && host.length > base.length : host === base;
}
