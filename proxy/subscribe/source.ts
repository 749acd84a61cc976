import type { Snapshot } from "#model/snapshot.ts";

/** Takes what a source has to say. */
export interface SnapshotSink {
  /** Puts a good one in force, before it returns. */
  apply(snapshot: Snapshot): void;
  /** Hears what is wrong with one that was not good, in one line each. The one before stays in force. */
  refused(problems: readonly string[]): void;
}

/** What went wrong without ending anything. Only grows. */
export interface SourceFailures {
  /** Snapshots that could not be written to disk. */
  readonly unsaved: number;
}

/** Nothing has. */
export const NO_FAILURES: SourceFailures = { unsaved: 0 };

/** Where a proxy's snapshots come from: a file, a control service, the last good copy. */
export interface SnapshotSource {
  /** Hands on the newest snapshot, and again at each change; skips what came between. */
  start(sink: SnapshotSink): void;
  /** One of `connected`, `connecting`, `static`: for `/config` and metrics. */
  status(): string;
  failures(): SourceFailures;
  close(): Promise<void>;
}
