import type { TokenRecord, TokenStore } from "#certs/attest/join_token.ts";

/** Tokens in memory. */
export class MemoryTokenStore implements TokenStore {
  readonly #records = new Map<string, TokenRecord>();

  put(record: TokenRecord): void {
    this.#records.set(record.hash, record);
  }

  take(hash: string): TokenRecord | undefined {
    const record = this.#records.get(hash);
    this.#records.delete(hash);
    return record;
  }
}
