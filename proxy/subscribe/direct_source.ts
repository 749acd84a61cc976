import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSink,
  type SnapshotSource,
  type SourceFailures,
} from "#proxy/subscribe/source.ts";

/** A control service in the same process, as a proxy sees it. */
export interface DirectSubscription {
  verdict(verdict: { readonly revision: string; readonly problems: readonly string[] }): void;
  report(
    reports: readonly ServiceReport[],
    mesh: { readonly address: string; readonly port: number } | undefined,
  ): void;
  close(): void;
}

/** Snapshots without a wire between. */
export class DirectSource implements SnapshotSource {
  readonly #subscribe: (deliver: (snapshot: Snapshot) => void) => DirectSubscription;
  #subscription: DirectSubscription | undefined = undefined;

  constructor(subscribe: (deliver: (snapshot: Snapshot) => void) => DirectSubscription) {
    this.#subscribe = subscribe;
  }

  start(sink: SnapshotSink): void {
    let early: string | undefined;
    const accept = (revision: string): void =>
      this.#subscription?.verdict({ revision, problems: [] });
    this.#subscription = this.#subscribe((snapshot) => {
      sink.apply(snapshot);
      early = snapshot.revision;
      accept(early);
    });
    // The first snapshot came before there was a subscription to answer to.
    if (early !== undefined) accept(early);
  }

  report(
    reports: readonly ServiceReport[],
    mesh: { readonly address: string; readonly port: number } | undefined,
  ): void {
    this.#subscription?.report(reports, mesh);
  }

  status(): string {
    return "connected";
  }

  failures(): SourceFailures {
    return NO_FAILURES;
  }

  async close(): Promise<void> {
    this.#subscription?.close();
  }
}
