import "reflect-metadata";
import { createPrivateKey, createPublicKey, generateKeyPair, webcrypto } from "node:crypto";
import { promisify } from "node:util";
import { Pkcs10CertificateRequest, Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { err, ok, type Result } from "#kernel/result.ts";

const CURVE = { name: "ECDSA", namedCurve: "P-256" } as const;
/** How everything of ours is signed. */
export const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;

const makePair = promisify(generateKeyPair);

/** A new P-256 private key, PEM (PKCS#8). */
export async function newKeyPem(): Promise<string> {
  const { privateKey } = await makePair("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Both halves of a PEM key, for the certificate library. */
export async function cryptoKeys(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const der = createPrivateKey(keyPem).export({ type: "pkcs8", format: "der" });
  const spki = createPublicKey(keyPem).export({ type: "spki", format: "der" });
  const { subtle } = webcrypto;
  return {
    privateKey: await subtle.importKey("pkcs8", der, CURVE, false, ["sign"]),
    publicKey: await subtle.importKey("spki", spki, CURVE, true, ["verify"]),
  };
}

/** What a requester sends and what it keeps. */
export interface SigningRequest {
  readonly csrPem: string;
  readonly keyPem: string;
}

/** A new key and a request that proves its possession. It asks for nothing: the issuer knows. */
export async function newRequest(): Promise<SigningRequest> {
  const keyPem = await newKeyPem();
  const keys = await cryptoKeys(keyPem);
  const csr = await Pkcs10CertificateRequestGenerator.create({
    name: "",
    keys,
    signingAlgorithm: SIGNING,
  });
  return { csrPem: csr.toString("pem"), keyPem };
}

/** Longest request that is read, bytes of PEM. */
const CSR_BYTES_MAX = 8_192;

/**
 * The public key of a request whose signature proves possession of it: P-256 or nothing. All else that
 * it asks for is ignored.
 */
export async function keyOfRequest(csrPem: string): Promise<Result<webcrypto.CryptoKey, string>> {
  if (csrPem.length > CSR_BYTES_MAX) return err("the request is too large");
  try {
    const csr = new Pkcs10CertificateRequest(csrPem);
    const key = await csr.publicKey.export(CURVE, ["verify"]);
    if (!(await csr.verify())) return err("the request is not signed by its own key");
    return ok(key as webcrypto.CryptoKey);
  } catch {
    return err("not a PKCS#10 request for a P-256 key");
  }
}

/** Whether this PEM is the private key of this public one (DER, SPKI). */
export function isKeyOf(spki: Uint8Array, keyPem: string): boolean {
  try {
    const key = createPublicKey(createPrivateKey(keyPem));
    return key.export({ type: "spki", format: "der" }).equals(spki);
  } catch {
    return false;
  }
}
