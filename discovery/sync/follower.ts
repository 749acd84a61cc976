import { type LeaseState, leaseState } from "#discovery/sync/lease.ts";
import {
  type Delta,
  type Heartbeat,
  type Need,
  type SnapshotPart,
  termOf,
} from "#discovery/sync/messages.ts";
import { StateHash } from "#discovery/sync/state_hash.ts";
import type { Millis } from "#kernel/brand.ts";

export interface FollowerOptions<T> {
  /** Undefined: an entry that its owner may not make, or that is malformed. It is left out. */
  readonly accept: (key: string, value: unknown) => T | undefined;
  /** Entries at most; more are left out. */
  readonly quota: number;
}

/** What a message did. */
export interface FollowerStep {
  /** The entries are not what they were. */
  readonly changed: boolean;
  /** To be sent to the owner. */
  readonly need?: Need["why"];
}

const NOTHING: FollowerStep = { changed: false };

interface Entry<T> {
  readonly json: string;
  /** Undefined: hashed, since the owner has it, but not accepted. */
  readonly value: T | undefined;
}

interface Assembly {
  readonly head: SnapshotPart;
  readonly parts: Map<number, SnapshotPart["u"]>;
}

/**
 * A copy of an owner's state. After a gap, a new epoch or a wrong hash it goes on serving what it has
 * and says that it needs a snapshot.
 */
export class Follower<T> {
  readonly #options: FollowerOptions<T>;
  #entries = new Map<string, Entry<T>>();
  #hash = new StateHash();
  #epoch: string | undefined = undefined;
  #seq = 0;
  #heardAt: Millis | undefined = undefined;
  #assembly: Assembly | undefined = undefined;
  /** Entries that `accept` or the quota has left out so far. */
  refused = 0;

  constructor(options: FollowerOptions<T>) {
    this.#options = options;
  }

  /** Starts with entries known from before, which one lease from now nobody may have confirmed. */
  restore(entries: Iterable<readonly [string, T]>, now: Millis): void {
    for (const [key, value] of entries) this.#entries.set(key, { json: "", value });
    this.#heardAt = now;
  }

  /** Only what was accepted. */
  *entries(): Iterable<readonly [string, T]> {
    for (const [key, { value }] of this.#entries) {
      if (value !== undefined) yield [key, value];
    }
  }

  /** `expired` if the owner was never heard. */
  lease(now: Millis): LeaseState {
    return this.#heardAt === undefined ? "expired" : leaseState(this.#heardAt, now);
  }

  /** Where we stand, for a `need`. */
  get position(): { readonly e: string | null; readonly s: number } {
    return { e: this.#epoch ?? null, s: this.#seq };
  }

  onDelta(delta: Delta, now: Millis): FollowerStep {
    if (!this.#listensTo(delta.e, now)) return NOTHING;
    if (delta.e !== this.#epoch) return { changed: false, need: "epoch" };
    this.#heardAt = now;
    if (delta.s <= this.#seq) return NOTHING;
    if (delta.s !== this.#seq + 1) return { changed: false, need: "gap" };
    this.#seq = delta.s;
    for (const [key, value] of delta.u) this.#put(key, value);
    return { changed: true };
  }

  onHeartbeat(beat: Heartbeat, now: Millis): FollowerStep {
    if (!this.#listensTo(beat.e, now)) return NOTHING;
    if (beat.e !== this.#epoch) return { changed: false, need: "epoch" };
    this.#heardAt = now;
    if (beat.s !== this.#seq) return { changed: false, need: "gap" };
    if (beat.h !== this.#hash.text()) return { changed: false, need: "hash" };
    return NOTHING;
  }

  onSnapshot(part: SnapshotPart, now: Millis): FollowerStep {
    if (!this.#listensTo(part.e, now) || part.i >= part.of) return NOTHING;
    if (part.e === this.#epoch && part.s < this.#seq) return NOTHING;
    const before = this.#assembly?.head;
    const same = before?.e === part.e && before.s === part.s && before.of === part.of;
    if (!same) this.#assembly = { head: part, parts: new Map() };
    const { parts } = this.#assembly!;
    parts.set(part.i, part.u);
    this.#heardAt = now;
    if (parts.size < part.of) return NOTHING;
    this.#assembly = undefined;
    this.#replace(part, parts);
    return { changed: true };
  }

  /** The owner says goodbye: what it said ends with it. */
  onBye(epoch: string): FollowerStep {
    if (epoch !== this.#epoch) return NOTHING;
    this.clear();
    return { changed: true };
  }

  clear(): void {
    this.#entries.clear();
    this.#hash = new StateHash();
    this.#epoch = undefined;
    this.#seq = 0;
    this.#heardAt = undefined;
  }

  /** An owner of a lower term is listened to only when the higher one has gone silent. */
  #listensTo(epoch: string, now: Millis): boolean {
    if (this.#epoch === undefined || epoch === this.#epoch) return true;
    return termOf(epoch) >= termOf(this.#epoch) || this.lease(now) !== "fresh";
  }

  #replace(head: SnapshotPart, parts: ReadonlyMap<number, SnapshotPart["u"]>): void {
    this.#entries = new Map();
    this.#hash = new StateHash();
    for (let i = 0; i < head.of; i++) {
      for (const [key, value] of parts.get(i)!) this.#put(key, value);
    }
    this.#epoch = head.e;
    this.#seq = head.s;
  }

  #put(key: string, value: unknown): void {
    const before = this.#entries.get(key);
    if (before !== undefined && before.json !== "") this.#hash.toggle(key, before.json);
    if (value === null) {
      this.#entries.delete(key);
      return;
    }
    const json = JSON.stringify(value);
    this.#hash.toggle(key, json);
    const fits = before !== undefined || this.#entries.size < this.#options.quota;
    const accepted = fits ? this.#options.accept(key, value) : undefined;
    if (accepted === undefined) this.refused++;
    this.#entries.set(key, { json, value: accepted });
  }
}
