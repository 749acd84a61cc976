import type { Millis } from "#kernel/brand.ts";
import { mergedText } from "#kernel/metrics.ts";
import type { ServiceReport } from "#model/report.ts";
import type { Snapshot } from "#model/snapshot.ts";
import type { DataPlane, ListenerStatus } from "#proxy/app/data_plane.ts";
import type { AskedRequest, Explanation } from "#proxy/app/explain.ts";
import type { Inventory } from "#proxy/app/inventory.ts";
import type { LocalPlane } from "#proxy/app/local_plane.ts";

/** Labels of what the inbound side counts; the outbound side has none besides its own. */
export const INBOUND_LABELS: Readonly<Record<string, string>> = { direction: "inbound" };

/**
 * The outbound side of a sidecar, with whose eyes an operator sees the inbound side as well. That one has a
 * snapshot and a life of its own.
 */
export class SidecarPlane implements DataPlane {
  readonly #outbound: LocalPlane;
  readonly #inbound: LocalPlane;

  constructor(outbound: LocalPlane, inbound: LocalPlane) {
    this.#outbound = outbound;
    this.#inbound = inbound;
  }

  async metricsText(): Promise<string> {
    return mergedText([await this.#outbound.metricsData(), await this.#inbound.metricsData()]);
  }

  async inventory(): Promise<readonly Inventory[]> {
    return [...(await this.#outbound.inventory()), ...(await this.#inbound.inventory())];
  }

  // ── the outbound side alone ──

  apply(snapshot: Snapshot): void {
    this.#outbound.apply(snapshot);
  }

  settled(): Promise<readonly ListenerStatus[]> {
    return this.#outbound.settled();
  }

  reports(): Promise<readonly ServiceReport[]> {
    return this.#outbound.reports();
  }

  watchHealth(onNews: () => void): void {
    this.#outbound.watchHealth(onNews);
  }

  explain(asked: AskedRequest): Promise<Explanation> {
    return this.#outbound.explain(asked);
  }

  reopenLogs(): void {
    this.#outbound.reopenLogs();
  }

  setWorkersLogLevel(): void {
    this.#outbound.setWorkersLogLevel();
  }

  drain(maxMs: Millis): Promise<void> {
    return this.#outbound.drain(maxMs);
  }
}
