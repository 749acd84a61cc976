import "reflect-metadata";
import { randomBytes, type webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Extension as RawExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { cryptoKeys, SIGNING } from "#certs/authority/keys.ts";
import { BACKDATE, nameConstraints, ROOT_TTL } from "#certs/authority/profiles.ts";
import { domainId, type SpiffeId } from "#certs/identity/spiffe_id.ts";
import { EKU } from "#certs/x509/certificate.ts";
import type { Millis } from "#kernel/brand.ts";
import type { ClusterName, MeshName } from "#model/names.ts";

/** A CA's certificate and key, PEM. */
export interface CaPair {
  readonly certPem: string;
  readonly keyPem: string;
}

const NAME_CONSTRAINTS_OID = "2.5.29.30";

/** The mesh's root. @param wall now, epoch ms. */
export async function issueRoot(mesh: MeshName, keyPem: string, wall: Millis): Promise<CaPair> {
  const keys = await cryptoKeys(keyPem);
  const name = `O=${mesh}, CN=${mesh} root 1`;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: name,
    issuer: name,
    notBefore: new Date(wall - BACKDATE),
    notAfter: new Date(wall + ROOT_TTL),
    signingKey: keys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: SIGNING,
    extensions: [...(await caExtensions(mesh, keys.publicKey, undefined))],
  });
  return { certPem: `${certificate.toString("pem")}\n`, keyPem };
}

/** The CA of a cluster. @param tiers levels of clusters that may stand below it. */
export async function issueClusterCa(
  by: CaPair,
  about: { cluster: ClusterName; mesh: MeshName; publicKey: webcrypto.CryptoKey; tiers: number },
  validity: { wall: Millis; ttl: Millis },
): Promise<string> {
  const { cluster, mesh, publicKey, tiers } = about;
  return sign(by, {
    subject: `O=${mesh}, CN=${cluster}`,
    publicKey,
    validity,
    extensions: await caExtensions(cluster, publicKey, tiers),
  });
}

/** A leaf: one SPIFFE id, and DNS names for peers that look for those. */
export async function issueLeaf(
  by: CaPair,
  about: { id: SpiffeId; dnsNames: readonly string[]; publicKey: webcrypto.CryptoKey },
  validity: { wall: Millis; ttl: Millis },
): Promise<string> {
  const { id, dnsNames, publicKey } = about;
  const names = [
    { type: "url" as const, value: id as string },
    ...dnsNames.map((value) => ({ type: "dns" as const, value })),
  ];
  return sign(by, {
    subject: "",
    publicKey,
    validity,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([EKU.serverAuth, EKU.clientAuth]),
      new SubjectAlternativeNameExtension(names, true),
    ],
  });
}

async function sign(
  by: CaPair,
  what: {
    subject: string;
    publicKey: webcrypto.CryptoKey;
    validity: { wall: Millis; ttl: Millis };
    extensions: Extension[];
  },
): Promise<string> {
  const issuer = new X509Certificate(by.certPem);
  const { privateKey } = await cryptoKeys(by.keyPem);
  const { wall, ttl } = what.validity;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: what.subject,
    issuer: issuer.subject,
    notBefore: new Date(wall - BACKDATE),
    // Nothing outlives what vouches for it.
    notAfter: new Date(Math.min(wall + ttl, issuer.notAfter.getTime())),
    signingKey: privateKey,
    publicKey: what.publicKey,
    signingAlgorithm: SIGNING,
    extensions: [...what.extensions, await AuthorityKeyIdentifierExtension.create(issuer)],
  });
  return `${certificate.toString("pem")}\n`;
}

async function caExtensions(
  domain: string,
  publicKey: webcrypto.CryptoKey,
  tiers: number | undefined,
): Promise<Extension[]> {
  const below = tiers === undefined || tiers > 0;
  return [
    new BasicConstraintsExtension(true, tiers, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new SubjectAlternativeNameExtension([{ type: "url", value: domainId(domain) }]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    new RawExtension(NAME_CONSTRAINTS_OID, true, nameConstraints(domain, below)),
  ];
}

/** 16 random bytes with the top bits 01: positive, never short. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString("hex");
}
