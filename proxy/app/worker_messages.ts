import type { Identity } from "#certs/identity/identity.ts";
import type { LogLevel } from "#kernel/log.ts";
import type { MetricsData } from "#kernel/metrics.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { ListenerStatus } from "#proxy/app/data_plane.ts";
import type { AskedRequest, Explanation } from "#proxy/app/explain.ts";
import type { Inventory } from "#proxy/app/inventory.ts";
import type { EndpointVerdict } from "#proxy/health/endpoint_checker.ts";

/*
 * What the primary and its workers say to each other over the process's own IPC channel. Both ends are
 * the same program of the same version, so these are types and not a wire format.
 */

export type ToWorker =
  | { readonly kind: "identity"; readonly identity: Identity }
  /** Before everything else. */
  | {
      readonly kind: "begin";
      /** Name of the worker's process in metrics. */
      readonly process: string;
      readonly ticketKeys: Uint8Array;
      readonly zone: string | undefined;
      /** How many there are, itself among them. */
      readonly workers: number;
      /** File of the access log; undefined: stdout. */
      readonly accessLog: string | undefined;
      readonly logLevel: LogLevel;
    }
  | { readonly kind: "log_level"; readonly level: LogLevel }
  | { readonly kind: "reopen_logs" }
  /** `held`: ports that processes of this proxy have already. */
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot; readonly held: readonly number[] }
  /** It is the one that sends health checks from now on. */
  | { readonly kind: "check" }
  /** It says so when the health of a service changes class. */
  | { readonly kind: "watch_health" }
  /** What the one that does has learnt. */
  | { readonly kind: "verdicts"; readonly verdicts: readonly EndpointVerdict[] }
  | { readonly kind: "drain"; readonly maxMs: number }
  | { readonly kind: "ask"; readonly id: number; readonly question: Question };

export type Question =
  /** A sign of life is wanted; that is all. */
  | { readonly kind: "alive" }
  | { readonly kind: "settled" }
  | { readonly kind: "metrics" }
  | { readonly kind: "reports" }
  | { readonly kind: "inventory" }
  | { readonly kind: "explain"; readonly asked: AskedRequest };

export interface Answers {
  readonly alive: true;
  readonly settled: readonly ListenerStatus[];
  readonly metrics: MetricsData;
  readonly reports: readonly ServiceReport[];
  readonly explain: Explanation;
  readonly inventory: readonly Inventory[];
}

export type FromWorker =
  | {
      readonly kind: "answer";
      readonly id: number;
      /** Undefined: there is nothing to tell before a first snapshot. */
      readonly value: Answers[keyof Answers] | undefined;
    }
  /** The health of a service has changed class, as it sees it. */
  | { readonly kind: "health" }
  /** News of an endpoint that it has checked. */
  | { readonly kind: "verdict"; readonly verdict: EndpointVerdict };
