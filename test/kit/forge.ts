import "reflect-metadata";
import { generateKeyPairSync, randomBytes, webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { nameConstraints } from "#certs/authority/profiles.ts";
import { EKU } from "#certs/x509/certificate.ts";

type Name = { type: "url" | "dns" | "email" | "ip"; value: string };

/** Everything about a certificate that an attacker, or a careless parent, may get wrong. */
export interface Forgery {
  readonly subject?: string;
  /** Signs it; undefined: itself. */
  readonly by?: Forged;
  readonly ca?: boolean;
  readonly pathLen?: number;
  readonly names?: readonly Name[];
  /** Domain of its name constraints; null: none. */
  readonly constraints?: string | null;
  readonly constraintsBelow?: boolean;
  readonly constraintsCritical?: boolean;
  readonly keyUsage?: number;
  readonly eku?: readonly string[];
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly extra?: readonly Extension[];
  readonly algorithm?: "P-256" | "P-384" | "RSA";
}

/** A forged certificate with its key. */
export interface Forged {
  readonly der: Buffer;
  readonly pem: string;
  readonly keyPem: string;
  readonly subject: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly signing: { name: string; hash: string };
}

const ALGORITHMS = {
  "P-256": { name: "ECDSA", namedCurve: "P-256" },
  "P-384": { name: "ECDSA", namedCurve: "P-384" },
  RSA: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
} as const;

async function keysOf(algorithm: keyof typeof ALGORITHMS) {
  const pair =
    algorithm === "RSA"
      ? generateKeyPairSync("rsa", { modulusLength: 2_048 })
      : generateKeyPairSync("ec", { namedCurve: algorithm });
  const pkcs8 = pair.privateKey.export({ type: "pkcs8", format: "der" });
  const spki = pair.publicKey.export({ type: "spki", format: "der" });
  const kind = ALGORITHMS[algorithm];
  return {
    keys: {
      privateKey: await webcrypto.subtle.importKey("pkcs8", pkcs8, kind, false, ["sign"]),
      publicKey: await webcrypto.subtle.importKey("spki", spki, kind, true, ["verify"]),
    },
    keyPem: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/** Makes a certificate that says just this. */
export async function forge(what: Forgery): Promise<Forged> {
  const { ca = false, names = [], by, algorithm = "P-256", eku, keyUsage } = what;
  const { keys, keyPem } = await keysOf(algorithm);
  const subject = what.subject ?? (ca ? `CN=${randomBytes(4).toString("hex")}` : "");
  const signing = {
    name: ALGORITHMS[algorithm].name,
    hash: algorithm === "P-384" ? "SHA-384" : "SHA-256",
  };
  const usage = ca
    ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign
    : KeyUsageFlags.digitalSignature;
  const extensions: Extension[] = [new BasicConstraintsExtension(ca, what.pathLen, true)];
  if (keyUsage !== 0) extensions.push(new KeyUsagesExtension(keyUsage ?? usage, true));
  if (!ca && eku !== null) {
    const oids = [...(eku ?? [EKU.serverAuth, EKU.clientAuth])];
    if (oids.length > 0) extensions.push(new ExtendedKeyUsageExtension(oids));
  }
  if (names.length > 0) extensions.push(new SubjectAlternativeNameExtension([...names], !ca));
  if (what.constraints !== undefined && what.constraints !== null) {
    const { constraintsBelow = true, constraintsCritical = true } = what;
    const value = nameConstraints(what.constraints, constraintsBelow);
    extensions.push(new Extension("2.5.29.30", constraintsCritical, value));
  }
  const certificate = await X509CertificateGenerator.create({
    serialNumber: `40${randomBytes(15).toString("hex")}`,
    subject,
    issuer: by?.subject ?? subject,
    notBefore: new Date(what.notBefore ?? Date.now() - 60_000),
    notAfter: new Date(what.notAfter ?? Date.now() + 3_600_000),
    signingKey: by?.keys.privateKey ?? keys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: by?.signing ?? signing,
    extensions: [...extensions, ...(what.extra ?? [])],
  });
  return {
    der: Buffer.from(certificate.rawData),
    pem: `${certificate.toString("pem")}\n`,
    keyPem,
    subject,
    keys,
    signing,
  };
}

/** The SPIFFE id of a domain, or one of its paths. */
export function uri(value: string): Name {
  return { type: "url", value: `spiffe://${value}` };
}
