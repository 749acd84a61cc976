import { createHash } from "node:crypto";

/** What one entry adds to the hash. */
export type Digest = bigint;

/** What an entry with this JSON adds to the hash. */
export function digestOf(key: string, json: string): Digest {
  return createHash("sha256").update(`${key}\0${json}`).digest().readBigUInt64BE(0);
}

/**
 * Order-independent hash of a keyed state: XOR of 64-bit digests of its entries, so that one change
 * costs one digest. Detects accidents, not malice: who may speak is the broker's matter.
 */
export class StateHash {
  #all: Digest = 0n;

  /** Adds an entry, or takes it out again; what it returns takes it out without the entry. */
  toggle(key: string, json: string): Digest {
    const digest = digestOf(key, json);
    this.#all ^= digest;
    return digest;
  }

  toggleDigest(digest: Digest): void {
    this.#all ^= digest;
  }

  /** 16 hex digits. */
  text(): string {
    return this.#all.toString(16).padStart(16, "0");
  }
}
