import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import {
  NO_FAILURES,
  type SnapshotSource,
  type SourceFailures,
  type Verdict,
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

  start(apply: (snapshot: Snapshot) => Verdict): void {
    let early: Verdict | undefined;
    const tell = (verdict: Verdict): void => {
      const problems = verdict.kind === "ack" ? [] : verdict.problems.map((p) => p.message);
      this.#subscription?.verdict({ revision: verdict.revision, problems });
    };
    this.#subscription = this.#subscribe((snapshot) => {
      early = apply(snapshot);
      tell(early);
    });
    // The first snapshot came before there was a subscription to answer to.
    if (early !== undefined) tell(early);
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
