import type { Snapshot } from "#model/snapshot.ts";
import type { SnapshotSource, Verdict } from "#proxy/subscribe/source.ts";

/** Another source whose snapshots are changed on their way: what a sidecar adds of its own. */
export class MappedSource implements SnapshotSource {
  readonly #source: SnapshotSource;
  readonly #change: (snapshot: Snapshot) => Snapshot;

  constructor(source: SnapshotSource, change: (snapshot: Snapshot) => Snapshot) {
    this.#source = source;
    this.#change = change;
  }

  start(apply: (snapshot: Snapshot) => Verdict): void {
    this.#source.start((snapshot) => apply(this.#change(snapshot)));
  }

  status(): string {
    return this.#source.status();
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

/** One snapshot that never changes. */
export class FixedSource implements SnapshotSource {
  readonly #snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
  }

  start(apply: (snapshot: Snapshot) => Verdict): void {
    apply(this.#snapshot);
  }

  status(): string {
    return "static";
  }

  async close(): Promise<void> {}
}
