import { type Digest, StateHash } from "#discovery/sync/state_hash.ts";

/** What a follower takes from its owner. */
export interface CopyRules<T> {
  /** Undefined: an entry that its owner may not make, or that is malformed. It is left out. */
  readonly accept: (key: string, value: unknown) => T | undefined;
  /** Entries at most; more are left out. */
  readonly quota: number;
  /**
   * A name, one of a few, that an entry has in common with others of its kind: each kind has the quota for itself, so
   * that many of one do not crowd out another. Absent: all are of one kind.
   */
  readonly kindOf?: (key: string) => string;
}

interface Entry<T> {
  /** Undefined: restored, no owner has said it to us. */
  readonly digest: Digest | undefined;
  /** Undefined: hashed, since the owner has it, but not accepted. */
  readonly value: T | undefined;
}

/**
 * The entries of an owner as one of its followers has them. Whatever the owner says, no more than the
 * quota (of each kind) are accepted and as many again remembered as refused, by key and digest alone. What comes
 * beyond that is hashed and forgotten: if it changes, hashes differ and a snapshot puts them right.
 */
export class CopiedState<T> {
  readonly #rules: CopyRules<T>;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #hash = new StateHash();
  #accepted = 0;
  /** The same by kind. */
  readonly #byKind = new Map<string, number>();

  constructor(rules: CopyRules<T>) {
    this.#rules = rules;
  }

  /** Only what was accepted. */
  *accepted(): Iterable<readonly [string, T]> {
    for (const [key, { value }] of this.#entries) {
      if (value !== undefined) yield [key, value];
    }
  }

  /** Entries that are kept, accepted or not. */
  get size(): number {
    return this.#entries.size;
  }

  hash(): string {
    return this.#hash.text();
  }

  /** Takes an entry known from before, which the owner may not have any more. */
  restore(key: string, value: T): void {
    this.#take(key, { digest: undefined, value });
  }

  /** @param value null: withdrawn. Returns false for what is left out. */
  put(key: string, value: unknown): boolean {
    const before = this.#entries.get(key);
    if (before?.digest !== undefined) this.#hash.toggleDigest(before.digest);
    this.#drop(key);
    if (value === null) return true;
    const digest = this.#hash.toggle(key, JSON.stringify(value));
    const fits = (this.#byKind.get(this.#kindOf(key)) ?? 0) < this.#rules.quota;
    const entry = { digest, value: fits ? this.#rules.accept(key, value) : undefined };
    const isAccepted = entry.value !== undefined;
    if (isAccepted || this.size - this.#accepted < this.#rules.quota) {
      this.#take(key, entry);
    }
    return isAccepted;
  }

  #take(key: string, entry: Entry<T>): void {
    this.#entries.set(key, entry);
    if (entry.value !== undefined) this.#count(key, 1);
  }

  #drop(key: string): void {
    if (this.#entries.get(key)?.value !== undefined) this.#count(key, -1);
    this.#entries.delete(key);
  }

  #count(key: string, change: 1 | -1): void {
    const kind = this.#kindOf(key);
    this.#accepted += change;
    this.#byKind.set(kind, (this.#byKind.get(kind) ?? 0) + change);
  }

  #kindOf(key: string): string {
    return this.#rules.kindOf?.(key) ?? "";
  }
}
