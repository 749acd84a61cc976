import {
  asciiText,
  childrenOf,
  type Der,
  DerError,
  expectDer,
  oidText,
  readDer,
  smallInteger,
  TAG,
  timeOf,
} from "#certs/x509/der.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/** What the verifier judges of a certificate (RFC 5280 §4). Read from DER by ourselves. */
export interface Certificate {
  readonly der: Uint8Array;
  /** The signed bytes. */
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
  /** Hex of the names' DER: compared byte by byte. */
  readonly issuer: string;
  readonly subject: string;
  /** Epoch ms. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spki: Uint8Array;
  readonly extensions: Extensions;
}

/** Extensions that are understood; any other critical one is refused. */
export interface Extensions {
  isCa: boolean;
  /** Undefined: no limit. */
  pathLen: number | undefined;
  basicConstraintsCritical: boolean;
  /** Bits of KeyUsage, first byte; undefined if the extension is missing. */
  keyUsage: number | undefined;
  extendedKeyUsage: readonly string[] | undefined;
  uris: string[];
  dnsNames: string[];
  /** Other kinds of alternative names: none may be there. */
  otherNames: number;
  nameConstraints: NameConstraints | undefined;
}

/** Name constraints (RFC 5280 §4.2.1.10), of the kinds that our certificates have. */
export interface NameConstraints {
  readonly critical: boolean;
  readonly permittedUris: readonly string[];
  readonly permittedDns: readonly string[];
  /** Permitted subtrees of other kinds, or excluded names: judged as "nothing of that kind". */
  readonly excludesNames: boolean;
}

/** Bits of KeyUsage (RFC 5280 §4.2.1.3). */
export const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;
/** OIDs of ExtendedKeyUsage. */
export const EKU = { serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2" } as const;

const ECDSA_SHA256 = "1.2.840.10045.4.3.2";
const EC_PUBLIC_KEY = "1.2.840.10045.2.1";
const P256 = "1.2.840.10045.3.1.7";
const CERTIFICATE_BYTES_MAX = 16_384;

/** Strict: no trailing bytes, no duplicate or unknown critical extension, P-256 and SHA-256 only. */
export function parseCertificate(der: Uint8Array): Result<Certificate, string> {
  if (der.length > CERTIFICATE_BYTES_MAX) return err("too large");
  try {
    return ok(parse(der));
  } catch (error) {
    if (error instanceof DerError) return err(error.message);
    throw error;
  }
}

function parse(der: Uint8Array): Certificate {
  const whole = expectDer(der, 0, der.length, TAG.sequence);
  if (whole.to !== der.length) throw new DerError("bytes after the certificate");
  const [tbs, algorithm, signature, ...rest] = childrenOf(der, whole);
  if (tbs === undefined || algorithm === undefined || signature === undefined || rest.length > 0) {
    throw new DerError("not a certificate");
  }
  expectAlgorithm(der, algorithm);
  if (signature.tag !== TAG.bitString || der[signature.from] !== 0) throw new DerError("signature");
  const fields = childrenOf(der, tbs);
  const version = fields.shift();
  if (version?.tag !== 0xa0 || der[version.to - 1] !== 2) throw new DerError("not version 3");
  const [serial, inner, issuer, validity, subject, spki, ...tail] = fields;
  if (spki === undefined || serial?.tag !== TAG.integer) throw new DerError("not a certificate");
  expectAlgorithm(der, inner!);
  const [notBefore, notAfter] = childrenOf(der, validity!);
  if (notBefore === undefined || notAfter === undefined) throw new DerError("validity");
  expectP256(der, spki);
  const [extensions, ...more] = tail;
  if (extensions?.tag !== 0xa3 || more.length > 0) throw new DerError("extensions");
  return {
    der,
    tbs: der.subarray(tbs.start, tbs.to),
    signature: der.subarray(signature.from + 1, signature.to),
    issuer: hex(der, issuer!),
    subject: hex(der, subject!),
    notBefore: timeOf(der, notBefore),
    notAfter: timeOf(der, notAfter),
    spki: der.subarray(spki.start, spki.to),
    extensions: parseExtensions(der, readDer(der, extensions.from, extensions.to)),
  };
}

function expectAlgorithm(der: Uint8Array, algorithm: Der): void {
  const [oid, ...parameters] = childrenOf(der, algorithm);
  if (oid === undefined || oidText(der, oid) !== ECDSA_SHA256 || parameters.length > 0) {
    throw new DerError("signature algorithm");
  }
}

function expectP256(der: Uint8Array, spki: Der): void {
  const [algorithm, key] = childrenOf(der, spki);
  if (algorithm === undefined || key?.tag !== TAG.bitString) throw new DerError("public key");
  const [kind, curve] = childrenOf(der, algorithm);
  const fine =
    kind !== undefined &&
    curve !== undefined &&
    oidText(der, kind) === EC_PUBLIC_KEY &&
    oidText(der, curve) === P256;
  if (!fine) throw new DerError("not a P-256 key");
}

function parseExtensions(der: Uint8Array, list: Der): Extensions {
  const found: Extensions = {
    isCa: false,
    pathLen: undefined,
    basicConstraintsCritical: false,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    uris: [],
    dnsNames: [],
    otherNames: 0,
    nameConstraints: undefined,
  };
  const seen = new Set<string>();
  for (const extension of childrenOf(der, list)) {
    const parts = childrenOf(der, extension);
    const oid = oidText(der, parts[0]!);
    const critical = parts.length === 3 && der[parts[1]!.from] === 0xff;
    const value = parts.at(-1)!;
    if (value.tag !== TAG.octetString || seen.has(oid)) throw new DerError(`extension ${oid}`);
    seen.add(oid);
    const inner = readDer(der, value.from, value.to);
    if (inner.to !== value.to) throw new DerError(`extension ${oid}`);
    const read = EXTENSIONS[oid];
    if (read !== undefined) read(der, inner, found, critical);
    else if (critical) throw new DerError(`unknown critical extension ${oid}`);
  }
  return found;
}

type ReadExtension = (der: Uint8Array, at: Der, found: Extensions, critical: boolean) => void;

const EXTENSIONS: Readonly<Record<string, ReadExtension>> = {
  "2.5.29.19": (der, at, found, critical) => {
    const [isCa, pathLen] = childrenOf(der, at);
    found.basicConstraintsCritical = critical;
    if (isCa === undefined) return;
    if (isCa.tag !== TAG.boolean || der[isCa.from] !== 0xff) throw new DerError("CA flag");
    found.isCa = true;
    if (pathLen !== undefined) found.pathLen = smallInteger(der, pathLen);
  },
  "2.5.29.15": (der, at, found) => {
    if (at.tag !== TAG.bitString || at.to - at.from < 2) throw new DerError("key usage");
    found.keyUsage = der[at.from + 1]!;
  },
  "2.5.29.37": (der, at, found) => {
    found.extendedKeyUsage = childrenOf(der, at).map((oid) => oidText(der, oid));
  },
  "2.5.29.17": (der, at, found) => {
    for (const name of childrenOf(der, at)) {
      if (name.tag === 0x86) found.uris.push(asciiText(der, name));
      else if (name.tag === 0x82) found.dnsNames.push(asciiText(der, name));
      else found.otherNames++;
    }
  },
  "2.5.29.30": (der, at, found, critical) => {
    const uris: string[] = [];
    const dns: string[] = [];
    let excludesNames = false;
    for (const list of childrenOf(der, at)) {
      for (const subtree of childrenOf(der, list)) {
        const base = readDer(der, subtree.from, subtree.to);
        if (list.tag === 0xa1) excludesNames ||= base.tag === 0x86 || base.tag === 0x82;
        else if (base.tag === 0x86) uris.push(asciiText(der, base));
        else if (base.tag === 0x82) dns.push(asciiText(der, base));
      }
    }
    found.nameConstraints = { critical, permittedUris: uris, permittedDns: dns, excludesNames };
  },
  // Key identifiers: hints for finding an issuer, which we find by name and signature.
  "2.5.29.14": () => {},
  "2.5.29.35": () => {},
};

function hex(der: Uint8Array, at: Der): string {
  let text = "";
  for (let i = at.start; i < at.to; i++) text += der[i]!.toString(16).padStart(2, "0");
  return text;
}
