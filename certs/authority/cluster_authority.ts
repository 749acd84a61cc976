import { type CaPair, issueClusterCa, issueLeaf, issueRoot } from "#certs/authority/issue.ts";
import { keyOfRequest, newKeyPem, newRequest } from "#certs/authority/keys.ts";
import { clusterCaTtl, leafTtl } from "#certs/authority/profiles.ts";
import type { Identity } from "#certs/identity/identity.ts";
import { roleOf, type SpiffeId, trustDomainOf } from "#certs/identity/spiffe_id.ts";
import { parseCertificate } from "#certs/x509/certificate.ts";
import { certificatesOf } from "#certs/x509/pem.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, coreOf, type MeshName, parentOf } from "#model/names.ts";

/** What a cluster needs to vouch for its own: kept on disk by `ca_files.ts`. */
export interface AuthorityMaterial {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  /** PEM: the cluster's CA certificate, then its issuers up to but without the root. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly rootsPem: string;
  /** The mesh's root key: only in a core with an embedded root. */
  readonly rootKeyPem?: string;
}

/** A certificate and its issuers, PEM, without the root. */
export interface Issued {
  readonly chainPem: string;
  /** Of the first certificate, epoch ms. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Why `child` may not have so many levels of clusters below it: nobody would believe what they sign. A core's
 * children are signed by the root, which has no bound.
 */
export function tiersProblem(
  { mesh, cluster, chainPem }: Pick<AuthorityMaterial, "mesh" | "cluster" | "chainPem">,
  child: ClusterName,
  tiers: number,
): string | undefined {
  if (cluster === coreOf(mesh)) return undefined;
  const own = parseCertificate(certificatesOf(chainPem)[0]!);
  const below = own.ok ? own.value.extensions.pathLen : undefined;
  if (below === undefined || tiers < below) return undefined;
  if (below === 0) return `${cluster} may have no clusters below it (it joined with --tiers 0)`;
  return `${cluster} may have ${below} levels of clusters below it, so ${child} at most ${below - 1}`;
}

/** The issuing CA of one cluster. What it signs follows from its own records, never from a request. */
export class ClusterAuthority {
  #material: AuthorityMaterial;
  readonly #clock: Clock;

  constructor(material: AuthorityMaterial, clock: Clock) {
    this.#material = material;
    this.#clock = clock;
  }

  get cluster(): ClusterName {
    return this.#material.cluster;
  }

  get rootsPem(): string {
    return this.#material.rootsPem;
  }

  /** Validity of the cluster's own CA certificate. */
  get validity(): { readonly notBefore: number; readonly notAfter: number } {
    return issued(this.#material.chainPem);
  }

  /** Takes a renewed CA; leaves from now on are signed by it. */
  replace(material: AuthorityMaterial): void {
    this.#material = material;
  }

  /** Signs a leaf of this cluster for the key of `csrPem`. */
  async issueLeaf(csrPem: string, id: SpiffeId): Promise<Result<Issued, string>> {
    const { mesh, cluster } = this.#material;
    if (trustDomainOf(id) !== cluster) return err(`${id} is not of ${cluster}`);
    const role = roleOf(id);
    if (role === undefined) return err(`${id} is reserved`);
    const publicKey = await keyOfRequest(csrPem);
    if (!publicKey.ok) return publicKey;
    // Peers of a bus or an API look for a DNS name; a workload has none to answer for.
    const dnsNames = role === "workload" ? [] : [cluster];
    const leaf = await issueLeaf(
      this.#ca,
      { id, dnsNames, publicKey: publicKey.value },
      { wall: this.#clock.wall(), ttl: leafTtl(cluster, mesh) },
    );
    return ok(issued(leaf + this.#material.chainPem));
  }

  /** A leaf with a key made here, for this process itself. */
  async ownIdentity(id: SpiffeId): Promise<Result<Identity, string>> {
    const { csrPem, keyPem } = await newRequest();
    const leaf = await this.issueLeaf(csrPem, id);
    if (!leaf.ok) return leaf;
    const { cluster, rootsPem } = this.#material;
    return ok({ id, cluster, keyPem, rootsPem, ...leaf.value });
  }

  /**
   * Signs the CA of a cluster right below this one. Core's own CA stands beside its children in names,
   * so they are signed by the root, if it is kept here.
   * @param tiers levels of clusters that may stand below the child.
   */
  async signChild(
    csrPem: string,
    child: ClusterName,
    tiers: number,
  ): Promise<Result<Issued, string>> {
    const { mesh, cluster } = this.#material;
    if (parentOf(child, mesh) !== cluster) return err(`${child} is not a child of ${cluster}`);
    return this.#signCluster(csrPem, child, tiers);
  }

  /** A new certificate for the core's own CA, signed by the root that is kept beside it. */
  async resignSelf(csrPem: string): Promise<Result<Issued, string>> {
    const { mesh, cluster } = this.#material;
    if (cluster !== coreOf(mesh)) return err("only a core stands right below the root");
    return this.#signCluster(csrPem, cluster, 0);
  }

  async #signCluster(
    csrPem: string,
    child: ClusterName,
    tiers: number,
  ): Promise<Result<Issued, string>> {
    const { mesh, cluster, chainPem, rootsPem, rootKeyPem } = this.#material;
    const publicKey = await keyOfRequest(csrPem);
    if (!publicKey.ok) return publicKey;
    const byRoot = cluster === coreOf(mesh);
    const problem = tiersProblem(this.#material, child, tiers);
    if (problem !== undefined) return err(problem);
    if (byRoot && rootKeyPem === undefined) return err("the root's key is not kept here");
    const by = byRoot ? { certPem: rootsPem, keyPem: rootKeyPem! } : this.#ca;
    const certificate = await issueClusterCa(
      by,
      { cluster: child, mesh, publicKey: publicKey.value, tiers },
      { wall: this.#clock.wall(), ttl: clusterCaTtl(child, mesh) },
    );
    return ok(issued(byRoot ? certificate : certificate + chainPem));
  }

  get #ca(): CaPair {
    return { certPem: this.#material.chainPem, keyPem: this.#material.keyPem };
  }
}

/** A new mesh: its root, and the CA of its core, signed by it. */
export async function createMesh(mesh: MeshName, clock: Clock): Promise<AuthorityMaterial> {
  const wall = clock.wall();
  const root = await issueRoot(mesh, await newKeyPem(), wall);
  const cluster = coreOf(mesh);
  const { csrPem, keyPem } = await newRequest();
  const publicKey = await keyOfRequest(csrPem);
  if (!publicKey.ok) throw new Error(publicKey.error);
  const chainPem = await issueClusterCa(
    root,
    { cluster, mesh, publicKey: publicKey.value, tiers: 0 },
    { wall, ttl: clusterCaTtl(cluster, mesh) },
  );
  return { mesh, cluster, chainPem, keyPem, rootsPem: root.certPem, rootKeyPem: root.keyPem };
}

function issued(chainPem: string): Issued {
  const first = parseCertificate(certificatesOf(chainPem)[0]!);
  if (!first.ok) throw new Error(`a certificate of our own: ${first.error}`);
  return { chainPem, notBefore: first.value.notBefore, notAfter: first.value.notAfter };
}
