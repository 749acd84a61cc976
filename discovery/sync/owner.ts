import type { Delta, Heartbeat, SnapshotPart } from "#discovery/sync/messages.ts";
import {
  differences,
  entriesOf,
  NO_PART,
  type Part,
  sizeOf,
  wholePart,
} from "#discovery/sync/parts.ts";
import { type Digest, digestOf, StateHash } from "#discovery/sync/state_hash.ts";

/** Bytes of JSON per part of a snapshot: well below what a bus carries. */
const PART_BYTES_MAX = 131_072;

/** The one who says what is so: a keyed state and the numbered steps by which it changes. */
export class Owner<T> {
  readonly #epoch: string;
  readonly #hash = new StateHash();
  #parts: ReadonlyMap<string, Part<T>> = new Map();
  #size = 0;
  /** What has changed since the last step; undefined: withdrawn. */
  readonly #pending = new Map<string, T | undefined>();
  /** Nothing has been said yet, so nobody follows: who will needs the whole anyway. */
  #silent = true;
  /** There is something to say by then. */
  #begins = false;
  #seq = 0;

  constructor(epoch: string) {
    this.#epoch = epoch;
  }

  /** Makes `wanted`, which nobody changes any more, the state. True if anything changed. */
  become(wanted: ReadonlyMap<string, T>): boolean {
    return this.becomeParts(new Map([["", wholePart(wanted)]]));
  }

  /** The same of a state in parts, by their names. What is the same object as before costs nothing. */
  becomeParts(wanted: ReadonlyMap<string, Part<T>>): boolean {
    let changed = false;
    for (const [name, part] of wanted) {
      const before = this.#parts.get(name);
      if (!this.#silent || (before !== undefined && sizeOf(before) > 0)) {
        changed = this.#step(before ?? NO_PART, part) || changed;
      } else if (sizeOf(part) > 0) {
        this.#begins = true;
        this.#hash.toggleDigest(hashOf(part));
        changed = true;
      }
      this.#size += sizeOf(part) - (before === undefined ? 0 : sizeOf(before));
    }
    for (const [name, part] of this.#parts) {
      if (wanted.has(name)) continue;
      changed = this.#step(part, NO_PART) || changed;
      this.#size -= sizeOf(part);
    }
    this.#parts = wanted;
    return changed;
  }

  /** What has changed since the last flush, as one step; undefined if nothing has. */
  flush(): Delta | undefined {
    if (this.#pending.size === 0 && !this.#begins) return undefined;
    // What is said first tells no more than the epoch.
    const said = this.#silent ? [] : this.#pending;
    const u = Array.from(said, ([key, value]): [string, unknown] => [key, value ?? null]);
    this.#seq++;
    this.#silent = false;
    this.#begins = false;
    this.#pending.clear();
    return { e: this.#epoch, s: this.#seq, u };
  }

  /** Only right after `flush`: hash and number must be of the same state. */
  heartbeat(): Heartbeat {
    this.#silent = false;
    return { e: this.#epoch, s: this.#seq, h: this.#hash.text(), n: this.#size };
  }

  /** The whole state in parts. Only right after `flush`. */
  snapshot(): SnapshotPart[] {
    this.#silent = false;
    const parts: Array<Array<[string, unknown]>> = [[]];
    let bytes = 0;
    for (const part of this.#parts.values()) {
      for (const [key, value] of entriesOf(part)) {
        const size = key.length + JSON.stringify(value).length;
        bytes += size;
        if (bytes > PART_BYTES_MAX) {
          parts.push([]);
          bytes = size;
        }
        parts.at(-1)!.push([key, value]);
      }
    }
    const head = { e: this.#epoch, s: this.#seq, h: this.#hash.text() };
    return parts.map((u, i) => ({ ...head, i, of: parts.length, u }));
  }

  #step(before: Part<T>, now: Part<T>): boolean {
    let changed = false;
    for (const [key, last, value] of differences(before, now)) {
      const [was, is] = [saidOf(key, last), saidOf(key, value)];
      // Another object that says the same.
      if (was === is) continue;
      if (was !== undefined) this.#hash.toggleDigest(was);
      if (is !== undefined) this.#hash.toggleDigest(is);
      this.#pending.set(key, value);
      changed = true;
    }
    return changed;
  }
}

/** What each of these adds to a hash: made once for all owners that say it. */
const digests = new WeakMap<object, { readonly key: string; readonly digest: Digest }>();

function saidOf(key: string, value: unknown): Digest | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "object" || value === null) return digestOf(key, JSON.stringify(value));
  let known = digests.get(value);
  if (known?.key !== key) {
    known = { key, digest: digestOf(key, JSON.stringify(value)) };
    digests.set(value, known);
  }
  return known.digest;
}

const shares = new WeakMap<object, Digest>();

function hashOf<T>({ shared, without, own }: Part<T>): Digest {
  let hash = shares.get(shared);
  if (hash === undefined) {
    hash = hashOfAll(shared);
    shares.set(shared, hash);
  }
  const left = without === undefined ? undefined : saidOf(without, shared.get(without));
  return hash ^ (left ?? 0n) ^ hashOfAll(own);
}

function hashOfAll(entries: ReadonlyMap<string, unknown>): Digest {
  let hash = 0n;
  for (const [key, value] of entries) hash ^= saidOf(key, value)!;
  return hash;
}
