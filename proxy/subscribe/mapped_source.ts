import type { Snapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSink,
  type SnapshotSource,
  type SourceFailures,
} from "#proxy/subscribe/source.ts";

/** Another source whose snapshots are changed on their way: what a sidecar adds of its own. */
export class MappedSource implements SnapshotSource {
  readonly #source: SnapshotSource;
  readonly #change: (snapshot: Snapshot) => Snapshot;

  constructor(source: SnapshotSource, change: (snapshot: Snapshot) => Snapshot) {
    this.#source = source;
    this.#change = change;
  }

  start(sink: SnapshotSink): void {
    this.#source.start({
      apply: (snapshot) => sink.apply(this.#change(snapshot)),
      refused: (problems) => sink.refused(problems),
    });
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

  start(sink: SnapshotSink): void {
    sink.apply(this.#snapshot);
  }

  status(): string {
    return "static";
  }

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {}
}
