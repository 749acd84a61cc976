import type { Snapshot } from "#model/snapshot.ts";
import { checksOf } from "#proxy/app/tables.ts";
import type { ToWorker } from "#proxy/app/worker_messages.ts";
import type { EndpointVerdict } from "#proxy/health/endpoint_checker.ts";
import { endpointKey } from "#proxy/upstream/upstreams.ts";

/** A worker as far as checks go. */
interface Told {
  tell(message: ToWorker): void;
}

/**
 * The primary's part in health checks: which one of its workers sends them, and what has come of that, for the others
 * and for those that come later. If that worker ends, another goes on from what is known.
 */
export class WorkerChecks {
  /** Workers that have a snapshot, the oldest first. */
  readonly #workers = new Set<Told>();
  /** By service and endpoint. */
  readonly #known = new Map<string, EndpointVerdict>();
  #checker: Told | undefined = undefined;

  /** A snapshot is going to be given to workers. Forgets what is not in it. */
  follow(snapshot: Snapshot): void {
    const wanted = new Set<string>();
    for (const { service, endpoint } of checksOf(snapshot)) {
      wanted.add(keyOf(service, endpointKey(endpoint)));
    }
    for (const key of this.#known.keys()) if (!wanted.has(key)) this.#known.delete(key);
  }

  /** A worker has been given a snapshot, its first one or another, and may not have heard of what is new in it. */
  given(worker: Told): void {
    this.#workers.add(worker);
    if (this.#known.size > 0) {
      worker.tell({ kind: "verdicts", verdicts: [...this.#known.values()] });
    }
    if (this.#checker === undefined) this.#appoint(worker);
  }

  /** The one that checks has something to say. */
  heard(from: Told, verdict: EndpointVerdict): void {
    // One that is being replaced may still have spoken.
    if (from !== this.#checker) return;
    // How old data was is soon no news any more.
    const { stalenessMs: _, ...lasting } = verdict;
    this.#known.set(keyOf(verdict.service, verdict.endpoint), lasting);
    for (const worker of this.#workers) {
      if (worker !== from) worker.tell({ kind: "verdicts", verdicts: [verdict] });
    }
  }

  ended(worker: Told): void {
    this.#workers.delete(worker);
    if (worker !== this.#checker) return;
    this.#checker = undefined;
    const [next] = this.#workers;
    if (next !== undefined) this.#appoint(next);
  }

  #appoint(worker: Told): void {
    this.#checker = worker;
    worker.tell({ kind: "check" });
  }
}

function keyOf(service: string, endpoint: string): string {
  return `${service} ${endpoint}`;
}
