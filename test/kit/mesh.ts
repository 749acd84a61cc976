import { ClusterAuthority, createMesh } from "#certs/authority/cluster_authority.ts";
import { newRequest } from "#certs/authority/keys.ts";
import type { Identity } from "#certs/identity/identity.ts";
import type { SpiffeId } from "#certs/identity/spiffe_id.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Result } from "#kernel/result.ts";
import { type ClusterName, coreOf, type MeshName, parentOf } from "#model/names.ts";

export const MESH = "acme.mesh" as MeshName;

/** The value of a result that must be good. */
export function must<T>(result: Result<T, unknown>): T {
  if (!result.ok) throw new Error(`expected a value: ${JSON.stringify(result.error)}`);
  return result.value;
}

/** A cluster of `MESH` by its name without the mesh: `store-1.eu`. */
export function cluster(short: string): ClusterName {
  return `${short}.${MESH}` as ClusterName;
}

/** The certificate authorities of a whole test tree, made when first asked for. */
export class TestTree {
  readonly #authorities = new Map<ClusterName, ClusterAuthority>();

  async authority(of: ClusterName): Promise<ClusterAuthority> {
    const known = this.#authorities.get(of);
    if (known !== undefined) return known;
    const made = of === coreOf(MESH) ? await this.#core() : await this.#child(of);
    this.#authorities.set(of, made);
    return made;
  }

  async identity(id: SpiffeId, of: ClusterName): Promise<Identity> {
    return must(await (await this.authority(of)).ownIdentity(id));
  }

  async #core(): Promise<ClusterAuthority> {
    return new ClusterAuthority(await createMesh(MESH, systemClock), systemClock);
  }

  async #child(of: ClusterName): Promise<ClusterAuthority> {
    const parent = await this.authority(parentOf(of, MESH)!);
    const { csrPem, keyPem } = await newRequest();
    const tiers = parentOf(parent.cluster, MESH) === undefined ? 1 : 0;
    const { chainPem } = must(await parent.signChild(csrPem, of, tiers));
    const material = { mesh: MESH, cluster: of, chainPem, keyPem, rootsPem: parent.rootsPem };
    return new ClusterAuthority(material, systemClock);
  }
}
