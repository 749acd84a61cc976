import { CopiedState, type CopyRules } from "#discovery/sync/copied_state.ts";
import { type LeaseState, leaseState } from "#discovery/sync/lease.ts";
import {
  type Delta,
  type Heartbeat,
  type Need,
  type SnapshotPart,
  termOf,
} from "#discovery/sync/messages.ts";
import type { Millis } from "#kernel/brand.ts";

/** What a message did. */
export interface FollowerStep {
  /** The entries are not what they were. */
  readonly changed: boolean;
  /** To be sent to the owner. */
  readonly need?: Need["why"];
}

const NOTHING: FollowerStep = { changed: false };

/** A snapshot that has not come whole yet: each part is judged as it comes, none is kept as it came. */
interface Assembly<T> {
  readonly head: SnapshotPart;
  readonly parts: Set<number>;
  readonly state: CopiedState<T>;
}

/**
 * A copy of an owner's state. After a gap, a new epoch or a wrong hash it goes on serving what it has
 * and says that it needs a snapshot.
 */
export class Follower<T> {
  readonly #rules: CopyRules<T>;
  #state: CopiedState<T>;
  #epoch: string | undefined = undefined;
  #seq = 0;
  #heardAt: Millis | undefined = undefined;
  #assembly: Assembly<T> | undefined = undefined;
  /** Entries that `accept` or the quota has left out so far. */
  refused = 0;

  constructor(rules: CopyRules<T>) {
    this.#rules = rules;
    this.#state = new CopiedState(rules);
  }

  /** Starts with entries known from before, which one lease from now nobody may have confirmed. */
  restore(entries: Iterable<readonly [string, T]>, now: Millis): void {
    for (const [key, value] of entries) this.#state.restore(key, value);
    this.#heardAt = now;
  }

  /** Only what was accepted. */
  entries(): Iterable<readonly [string, T]> {
    return this.#state.accepted();
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
    this.#put(this.#state, delta.u);
    return { changed: true };
  }

  onHeartbeat(beat: Heartbeat, now: Millis): FollowerStep {
    if (!this.#listensTo(beat.e, now)) return NOTHING;
    if (beat.e !== this.#epoch) return { changed: false, need: "epoch" };
    this.#heardAt = now;
    if (beat.s !== this.#seq) return { changed: false, need: "gap" };
    if (beat.h !== this.#state.hash()) return { changed: false, need: "hash" };
    return NOTHING;
  }

  onSnapshot(part: SnapshotPart, now: Millis): FollowerStep {
    if (!this.#listensTo(part.e, now) || part.i >= part.of) return NOTHING;
    if (part.e === this.#epoch && part.s < this.#seq) return NOTHING;
    const before = this.#assembly?.head;
    const same = before?.e === part.e && before.s === part.s && before.of === part.of;
    if (!same) {
      this.#assembly = { head: { ...part, u: [] }, parts: new Set(), state: this.#empty() };
    }
    const { parts, state } = this.#assembly!;
    this.#heardAt = now;
    if (!parts.has(part.i)) this.#put(state, part.u);
    if (parts.add(part.i).size < part.of) return NOTHING;
    this.#assembly = undefined;
    this.#state = state;
    this.#epoch = part.e;
    this.#seq = part.s;
    return { changed: true };
  }

  /** The owner says goodbye: what it said ends with it. */
  onBye(epoch: string): FollowerStep {
    if (epoch !== this.#epoch) return NOTHING;
    this.clear();
    return { changed: true };
  }

  clear(): void {
    this.#state = this.#empty();
    this.#epoch = undefined;
    this.#seq = 0;
    this.#heardAt = undefined;
  }

  /** An owner of a lower term is listened to only when the higher one has gone silent. */
  #listensTo(epoch: string, now: Millis): boolean {
    if (this.#epoch === undefined || epoch === this.#epoch) return true;
    return termOf(epoch) >= termOf(this.#epoch) || this.lease(now) !== "fresh";
  }

  #put(state: CopiedState<T>, entries: SnapshotPart["u"]): void {
    for (const [key, value] of entries) {
      if (!state.put(key, value)) this.refused++;
    }
  }

  #empty(): CopiedState<T> {
    return new CopiedState(this.#rules);
  }
}
