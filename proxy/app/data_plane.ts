import type { Millis } from "#kernel/brand.ts";
import type { LogLevel } from "#kernel/log.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { AskedRequest, Explanation } from "#proxy/app/explain.ts";
import type { Inventory } from "#proxy/app/inventory.ts";

/** What became of one listener of the snapshot in force. */
export interface ListenerStatus {
  readonly name: string;
  /** Address and port in use; absent if it could not be opened. */
  readonly bound?: { readonly address: string; readonly port: number };
  /** Why it is not open, or not in each process. */
  readonly problem?: string;
}

/** The part of a proxy that moves requests: this process's own, or that of its workers. */
export interface DataPlane {
  /** Swaps to `snapshot`. Listeners follow; `settled` tells when they have. */
  apply(snapshot: Snapshot): void;
  /** Resolves when every listener of the newest snapshot is open or has failed. */
  settled(): Promise<readonly ListenerStatus[]>;
  /** Prometheus text. */
  metricsText(): Promise<string>;
  reports(): Promise<readonly ServiceReport[]>;
  /** From now on calls `onNews` soon after the health of a service's own endpoints has changed class. */
  watchHealth(onNews: () => void): void;
  /** What would happen to a request that came to one of the plain listeners. */
  explain(asked: AskedRequest): Promise<Explanation>;
  /** Begins new log files where the old ones have been moved away. */
  reopenLogs(): void;
  /** Tells the other processes that it is made of how much to say. */
  setWorkersLogLevel(level: LogLevel): void;
  /** What is known of every endpoint, and which connections are open; one entry per process. */
  inventory(): Promise<readonly Inventory[]>;
  /** Stops accepting, lets running requests end for at most `maxMs`, then closes. */
  drain(maxMs: Millis): Promise<void>;
}
