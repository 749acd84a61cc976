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

/** Snapshots of its owner's own making. */
export class OwnSource implements SnapshotSource {
  #snapshot: Snapshot;
  #sink: SnapshotSink | undefined = undefined;

  constructor(first: Snapshot) {
    this.#snapshot = first;
  }

  /** Puts another one in force, if its revision is another. */
  put(snapshot: Snapshot): void {
    if (snapshot.revision === this.#snapshot.revision) return;
    this.#snapshot = snapshot;
    this.#sink?.apply(snapshot);
  }

  start(sink: SnapshotSink): void {
    this.#sink = sink;
    sink.apply(this.#snapshot);
  }

  status(): string {
    return "static";
  }

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {
    this.#sink = undefined;
  }
}
