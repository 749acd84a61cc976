import type { Problem } from "#kernel/result.ts";
import type { Snapshot } from "#model/snapshot.ts";

/** What became of a snapshot. A refused one leaves the one before in force (ACK/NACK as in xDS). */
export type Verdict =
  | { readonly kind: "ack"; readonly revision: string }
  | { readonly kind: "nack"; readonly revision: string; readonly problems: readonly Problem[] };

/** What went wrong without ending anything. Only grows. */
export interface SourceFailures {
  /** Configurations that could not be read or were not good. */
  readonly refused: number;
  /** Snapshots that could not be written to disk. */
  readonly unsaved: number;
}

/** Nothing has. */
export const NO_FAILURES: SourceFailures = { refused: 0, unsaved: 0 };

/** Where a proxy's snapshots come from: a file, a control service, the last good copy. */
export interface SnapshotSource {
  /** Calls `apply` with the newest snapshot, and again at each change; skips what came between. */
  start(apply: (snapshot: Snapshot) => Verdict): void;
  /** One of `connected`, `connecting`, `static`: for `/config` and metrics. */
  status(): string;
  failures(): SourceFailures;
  close(): Promise<void>;
}
