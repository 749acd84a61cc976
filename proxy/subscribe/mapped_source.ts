import type { Snapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSource,
  type SourceFailures,
  type Verdict,
} from "#proxy/subscribe/source.ts";

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

  failures(): SourceFailures {
    return this.#source.failures();
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

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {}
}
