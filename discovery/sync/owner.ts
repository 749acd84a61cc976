import type { Delta, Heartbeat, SnapshotPart } from "#discovery/sync/messages.ts";
import { StateHash } from "#discovery/sync/state_hash.ts";

/** Bytes of JSON per part of a snapshot: well below what a bus carries. */
const PART_BYTES_MAX = 131_072;

/** The one who says what is so: a keyed state and the numbered steps by which it changes. */
export class Owner<T> {
  readonly #epoch: string;
  readonly #hash = new StateHash();
  /** As JSON: compared, hashed and sent so. */
  readonly #entries = new Map<string, string>();
  /** What `become` was last given: the same object need not be written down to be compared. */
  #wanted: ReadonlyMap<string, T> = new Map();
  readonly #pending = new Map<string, string | null>();
  #seq = 0;

  constructor(epoch: string) {
    this.#epoch = epoch;
  }

  /** Makes `wanted`, which nobody changes any more, the state. True if anything changed. */
  become(wanted: ReadonlyMap<string, T>): boolean {
    let changed = false;
    for (const key of this.#entries.keys()) {
      if (!wanted.has(key)) changed = this.#put(key, null) || changed;
    }
    for (const [key, value] of wanted) {
      if (this.#wanted.get(key) === value) continue;
      changed = this.#put(key, JSON.stringify(value)) || changed;
    }
    this.#wanted = wanted;
    return changed;
  }

  /** What has changed since the last flush, as one step; undefined if nothing has. */
  flush(): Delta | undefined {
    if (this.#pending.size === 0) return undefined;
    this.#seq++;
    const u = [...this.#pending].map(([key, json]): [string, unknown] => [
      key,
      json === null ? null : JSON.parse(json),
    ]);
    this.#pending.clear();
    return { e: this.#epoch, s: this.#seq, u };
  }

  /** Only right after `flush`: hash and number must be of the same state. */
  heartbeat(): Heartbeat {
    return { e: this.#epoch, s: this.#seq, h: this.#hash.text(), n: this.#entries.size };
  }

  /** The whole state in parts. Only right after `flush`. */
  snapshot(): SnapshotPart[] {
    const parts: Array<Array<[string, unknown]>> = [[]];
    let bytes = 0;
    for (const [key, json] of this.#entries) {
      bytes += key.length + json.length;
      if (bytes > PART_BYTES_MAX) {
        parts.push([]);
        bytes = key.length + json.length;
      }
      parts.at(-1)!.push([key, JSON.parse(json)]);
    }
    const head = { e: this.#epoch, s: this.#seq, h: this.#hash.text() };
    return parts.map((u, i) => ({ ...head, i, of: parts.length, u }));
  }

  #put(key: string, json: string | null): boolean {
    const before = this.#entries.get(key);
    if (before === (json ?? undefined)) return false;
    if (before !== undefined) this.#hash.toggle(key, before);
    if (json === null) this.#entries.delete(key);
    else {
      this.#entries.set(key, json);
      this.#hash.toggle(key, json);
    }
    this.#pending.set(key, json);
    return true;
  }
}
