import { createHash, createPublicKey, verify } from "node:crypto";
import { LRUCache } from "lru-cache";
import { parseSpiffeId, type SpiffeId, trustDomainOf } from "#certs/identity/spiffe_id.ts";
import { type Certificate, parseCertificate } from "#certs/x509/certificate.ts";
import {
  anyCaProblem,
  clusterCaProblem,
  constraintProblem,
  domainOf,
  leafProblem,
} from "#certs/x509/rules.ts";
import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, isWithin } from "#model/names.ts";

/** A peer whose chain was found good. */
export interface VerifiedPeer {
  readonly id: SpiffeId;
  readonly cluster: ClusterName;
  /** The earliest end of validity on its path, epoch ms. */
  readonly notAfter: Millis;
}

/** Certificates that a peer may send. */
const CHAIN_MAX = 8;
const CACHED_CHAINS = 4_096;

/**
 * Verifies chains by our own rules, after OpenSSL has verified them by its own: OpenSSL alone can be
 * led past URI name constraints (reference: identity, §3). What stops a stolen cluster CA whatever its
 * constraints say is the binding rule: a leaf's trust domain is that of the CA that signed it, and a
 * CA's lies properly below that of its issuer.
 */
export class ChainVerifier {
  readonly #roots: readonly Certificate[];
  readonly #verified = new LRUCache<string, VerifiedPeer & { readonly notBefore: Millis }>({
    max: CACHED_CHAINS,
  });

  /** @param roots DER of the mesh's roots: trusted, but held to their own constraints. */
  constructor(roots: readonly Uint8Array[]) {
    this.#roots = roots.map((der) => {
      const root = parseCertificate(der);
      if (!root.ok) throw new Error(`root certificate: ${root.error}`);
      return root.value;
    });
  }

  /** @param chain DER; the leaf first, its issuers in any order, possibly with others among them. */
  verify(chain: readonly Uint8Array[], wall: Millis): Result<VerifiedPeer, string> {
    if (chain.length === 0 || chain.length > CHAIN_MAX) return err(`${chain.length} certificates`);
    const key = fingerprint(chain);
    const known = this.#verified.get(key);
    if (known !== undefined && wall >= known.notBefore && wall <= known.notAfter) return ok(known);
    const parsed = parseAll(chain);
    if (!parsed.ok) return parsed;
    const [leaf, ...pool] = parsed.value;
    const problem = leafProblem(leaf!);
    if (problem !== undefined) return err(problem);
    const path = this.#pathFrom(leaf!, pool);
    if (path === undefined) return err("no path to the root");
    const wrong = pathProblem(path, wall);
    if (wrong !== undefined) return err(wrong);
    const id = parseSpiffeId(leaf!.extensions.uris[0]!);
    if (!id.ok) return id;
    const verified = {
      id: id.value,
      cluster: trustDomainOf(id.value),
      notBefore: Math.max(...path.map((c) => c.notBefore)),
      notAfter: Math.min(...path.map((c) => c.notAfter)),
    };
    this.#verified.set(key, verified);
    return ok(verified);
  }

  /** Leaf first, root last; each signed by the next. */
  #pathFrom(leaf: Certificate, pool: readonly Certificate[]): Certificate[] | undefined {
    const path = [leaf];
    const left = new Set(pool);
    for (let at = leaf; ; ) {
      const root = this.#roots.find((r) => signed(at, r));
      if (root !== undefined) return [...path, root];
      const issuer = [...left].find((c) => c.extensions.isCa && signed(at, c));
      if (issuer === undefined) return undefined;
      left.delete(issuer);
      path.push(issuer);
      at = issuer;
    }
  }
}

function parseAll(chain: readonly Uint8Array[]): Result<Certificate[], string> {
  const parsed: Certificate[] = [];
  for (const der of chain) {
    const certificate = parseCertificate(der);
    if (!certificate.ok) return certificate;
    parsed.push(certificate.value);
  }
  return ok(parsed);
}

function pathProblem(path: readonly Certificate[], wall: Millis): string | undefined {
  for (const certificate of path) {
    if (wall < certificate.notBefore) return "not valid yet";
    if (wall > certificate.notAfter) return "expired";
  }
  for (let i = 1; i < path.length; i++) {
    const ca = path[i]!;
    const isRoot = i === path.length - 1;
    const problem = isRoot ? anyCaProblem(ca, i - 1) : clusterCaProblem(ca, i - 1);
    if (problem !== undefined) return problem;
    for (const below of path.slice(0, i)) {
      const outside = constraintProblem(ca.extensions.nameConstraints, below);
      if (outside !== undefined) return outside;
    }
  }
  return bindingProblem(path);
}

function bindingProblem(path: readonly Certificate[]): string | undefined {
  const id = parseSpiffeId(path[0]!.extensions.uris[0]!);
  const issuer = domainOf(path[1]!);
  // The root signs clusters only: a leaf of its own would be bound to no cluster.
  if (path.length < 3) return "leaf signed by the root";
  if (!id.ok || trustDomainOf(id.value) !== issuer) return "leaf is not of its issuer's cluster";
  for (let i = 1; i + 1 < path.length; i++) {
    const child = domainOf(path[i]!);
    const parent = domainOf(path[i + 1]!);
    if (child === undefined || parent === undefined || child === parent) return "CA's domain";
    if (!isWithin(child, parent)) return `${child} is not below ${parent}`;
  }
  return undefined;
}

function signed(certificate: Certificate, by: Certificate): boolean {
  if (certificate.issuer !== by.subject) return false;
  const key = createPublicKey({ key: Buffer.from(by.spki), format: "der", type: "spki" });
  return verify("sha256", certificate.tbs, key, certificate.signature);
}

function fingerprint(chain: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const der of chain) hash.update(der);
  return hash.digest("base64");
}
