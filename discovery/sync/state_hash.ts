import { createHash } from "node:crypto";

/**
 * Order-independent hash of a keyed state: XOR of 64-bit digests of its entries, so that one change
 * costs one digest. Detects accidents, not malice: who may speak is the broker's matter.
 */
export class StateHash {
  #high = 0;
  #low = 0;

  /** Adds an entry, or takes it out again. */
  toggle(key: string, json: string): void {
    const digest = createHash("sha256").update(`${key}\0${json}`).digest();
    this.#high = (this.#high ^ digest.readUInt32BE(0)) >>> 0;
    this.#low = (this.#low ^ digest.readUInt32BE(4)) >>> 0;
  }

  /** 16 hex digits. */
  text(): string {
    return this.#high.toString(16).padStart(8, "0") + this.#low.toString(16).padStart(8, "0");
  }
}
