import type { SpiffeId } from "#certs/identity/spiffe_id.ts";
import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";

/** Who this process is and how it proves it (an X509-SVID and its key). Plain data. */
export interface Identity {
  readonly id: SpiffeId;
  readonly cluster: ClusterName;
  /** PEM: the leaf, then its issuers up to but without the root. */
  readonly chainPem: string;
  /** PEM, PKCS#8. */
  readonly keyPem: string;
  /** PEM: the mesh's root, two while it is being replaced. */
  readonly rootsPem: string;
  /** Epoch ms. */
  readonly notBefore: Millis;
  readonly notAfter: Millis;
}

/** An identity that is renewed now and then. */
export interface IdentitySource {
  current(): Identity;
  /** Called with each new one, from now on. */
  onRotate(listen: (identity: Identity) => void): { close(): void };
}

/** An identity source that its owner turns. */
export class RotatingIdentity implements IdentitySource {
  #identity: Identity;
  readonly #listeners = new Set<(identity: Identity) => void>();

  constructor(first: Identity) {
    this.#identity = first;
  }

  current(): Identity {
    return this.#identity;
  }

  rotate(identity: Identity): void {
    this.#identity = identity;
    for (const listen of this.#listeners) listen(identity);
  }

  onRotate(listen: (identity: Identity) => void): { close(): void } {
    this.#listeners.add(listen);
    return { close: () => void this.#listeners.delete(listen) };
  }
}
