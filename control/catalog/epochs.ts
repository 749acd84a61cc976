import type { Catalog } from "#control/catalog/catalog.ts";
import { believed, writtenHere } from "#control/catalog/replication.ts";
import type { Store } from "#control/store/store.ts";
import type { Replication } from "#model/traffic_policy.ts";

/** Services that are remembered at most: what children announce must not fill the disk. */
const REMEMBERED_MAX = 10_000;

/**
 * The newest that was ever heard of where each service's data is, on disk. Facts end with who says them, but a primary
 * that has moved does not become one again because all who know of that are away.
 */
export class Epochs {
  readonly #store: Store;
  readonly #newest: Map<string, Replication>;

  constructor(store: Store) {
    this.#store = store;
    this.#newest = store.replications();
  }

  /** By service. Not to be changed. */
  get newest(): ReadonlyMap<string, Replication> {
    return this.#newest;
  }

  /**
   * Remembers what is newer than what was, as far as it is believed. Throws if it cannot be written; it is known until
   * the end all the same.
   */
  learn({ own, children, view }: Pick<Catalog, "own" | "children" | "view">): void {
    const news = new Map<string, Replication>();
    const words = writtenHere(own);
    const heard = (service: string, said: Replication | undefined): void =>
      this.#heard(service, believed(words.get(service), said), news);
    for (const [name, replication] of words) this.#heard(name, replication, news);
    for (const { facts } of children) {
      for (const [service, { replication }] of facts) heard(service, replication);
    }
    for (const { service, summary } of view) heard(service, summary.replication);
    if (news.size > 0) this.#store.rememberReplications(news);
  }

  /** An operator's word that what is said now is right. False: nothing was remembered. */
  forget(service: string): boolean {
    this.#store.forgetReplication(service);
    return this.#newest.delete(service);
  }

  #heard(service: string, said: Replication | undefined, news: Map<string, Replication>): void {
    if (said === undefined) return;
    const known = this.#newest.get(service);
    if (known !== undefined && said.epoch <= known.epoch) return;
    if (known === undefined && this.#newest.size >= REMEMBERED_MAX) return;
    this.#newest.set(service, said);
    news.set(service, said);
  }
}
