import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import type { Seal } from "#proxy/filter/session.ts";

/** Of base64url: 132 bits. */
const SEAL_LETTERS = 22;
const KEY_BYTES = 32;

/** Seals the sessions of one cluster by HMAC-SHA-256. */
export class SessionSeal implements Seal {
  readonly #own: Buffer;
  #key: Buffer;

  /** @param shared a secret of all processes of this proxy; absent: it is alone. */
  constructor(shared?: Buffer) {
    this.#own =
      shared === undefined
        ? randomBytes(KEY_BYTES)
        : Buffer.from(hkdfSync("sha256", shared, "", "espalier sessions", KEY_BYTES));
    this.#key = this.#own;
  }

  /** @param key of the cluster, base64; undefined: nobody has given one, so sessions end with this proxy. */
  use(key: string | undefined): void {
    this.#key = key === undefined ? this.#own : Buffer.from(key, "base64");
  }

  of(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64url").slice(0, SEAL_LETTERS);
  }

  isOf(text: string, seal: string): boolean {
    return timingSafeEqual(Buffer.from(this.of(text)), Buffer.from(seal.padEnd(SEAL_LETTERS)));
  }
}
