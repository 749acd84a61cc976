import type { Bus } from "#discovery/bus/bus.ts";
import { HEARTBEAT_MS } from "#discovery/sync/lease.ts";
import { encode } from "#discovery/sync/messages.ts";
import { Owner } from "#discovery/sync/owner.ts";
import type { Part } from "#discovery/sync/parts.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";

const COALESCE_MS: Millis = 20;
/** A snapshot at most this often, however many ask. */
const SNAPSHOT_EVERY_MS: Millis = 100;

export interface OwnerLinkOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly epoch: string;
  /** Where a message of this kind goes. */
  readonly subject: (kind: "delta" | "hb" | "snap" | "bye") => string;
}

/** Publishes an owner's state: changes soon, heartbeats always, snapshots when asked. */
export class OwnerLink<T> {
  readonly #options: OwnerLinkOptions;
  readonly #owner: Owner<T>;
  readonly #status: { close(): void };
  #beat: Timer;
  #flush: Timer | undefined = undefined;
  #snapshot: Timer | undefined = undefined;
  #lastSnapshotAt: Millis = Number.NEGATIVE_INFINITY;

  constructor(options: OwnerLinkOptions) {
    this.#options = options;
    this.#owner = new Owner(options.epoch);
    this.#status = options.bus.onStatus((status) => {
      if (status === "up") this.beat();
    });
    this.#beat = this.#schedule(0);
  }

  become(wanted: ReadonlyMap<string, T>): void {
    this.#changed(this.#owner.become(wanted));
  }

  becomeParts(wanted: ReadonlyMap<string, Part<T>>): void {
    this.#changed(this.#owner.becomeParts(wanted));
  }

  #changed(changed: boolean): void {
    if (!changed) return;
    this.#flush ??= this.#options.clock.after(COALESCE_MS, () => this.#flushNow());
  }

  /** A heartbeat now: after a reconnect, or when poked. */
  beat(): void {
    this.#flushNow();
    this.#send("hb", this.#owner.heartbeat());
  }

  /** Somebody needs the whole. */
  requested(): void {
    if (this.#snapshot !== undefined) return;
    const { clock } = this.#options;
    const wait = Math.max(0, this.#lastSnapshotAt + SNAPSHOT_EVERY_MS - clock.now());
    this.#snapshot = clock.after(wait, () => {
      this.#snapshot = undefined;
      this.#lastSnapshotAt = clock.now();
      this.#flushNow();
      for (const part of this.#owner.snapshot()) this.#send("snap", part);
    });
  }

  /** @param bye true: what we said ends now; false: it is to be kept while we are away. */
  close(bye: boolean): void {
    this.#status.close();
    this.#beat.cancel();
    this.#flush?.cancel();
    this.#snapshot?.cancel();
    if (bye) this.#send("bye", { e: this.#options.epoch });
  }

  #flushNow(): void {
    this.#flush?.cancel();
    this.#flush = undefined;
    const delta = this.#owner.flush();
    if (delta !== undefined) this.#send("delta", delta);
  }

  #send(kind: "delta" | "hb" | "snap" | "bye", body: object): void {
    const { bus, subject } = this.#options;
    bus.publish(subject(kind), encode(kind, body as never));
  }

  #schedule(delayMs: Millis): Timer {
    const { clock, rng } = this.#options;
    return clock.after(delayMs, () => {
      this.beat();
      this.#beat = this.#schedule(HEARTBEAT_MS * (0.8 + 0.4 * rng.next()));
    });
  }
}
