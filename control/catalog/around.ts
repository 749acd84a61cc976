import { type Catalog, ownSummary } from "#control/catalog/catalog.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { believed, writtenHere } from "#control/catalog/replication.ts";
import type { ClusterName } from "#model/names.ts";
import type { Freshness } from "#model/snapshot.ts";
import type { Summary, ViewEntry } from "#model/summary.ts";
import type { Replication } from "#model/traffic_policy.ts";

/** What one child says of a service. */
export interface Heard {
  readonly cluster: ClusterName;
  /** With `drained` where the child is, and no more of its word about the data than is believed. */
  readonly summary: Summary;
  readonly freshness: Freshness;
}

/** All that a cluster knows of one service. The same object for as long as it knows the same. */
export interface About {
  readonly service: string;
  /** Undefined: none of its own that is exported. */
  readonly own: Summary | undefined;
  /** What clients of this cluster want, if nobody here serves it. */
  readonly wanted: { readonly demand: number; readonly arrivals: number };
  readonly children: readonly Heard[];
  /** What the parent shows. */
  readonly view: readonly ViewEntry[];
}

/** What a cluster knows, by service. */
export function servicesOf(catalog: Catalog): ReadonlyMap<string, About> {
  let around = known.get(catalog);
  if (around === undefined) {
    around = gather(catalog);
    known.set(catalog, around);
  }
  return around;
}

/**
 * Makes what `catalog` says of a service the same object as before where it is the same, so that what was made of it
 * need not be made again.
 * @param onChanged of services that are not the same: what was known, and what is.
 */
export function continueFrom(
  before: Catalog,
  catalog: Catalog,
  onChanged: (before: About, now: About) => void,
): void {
  const [old, now] = [servicesOf(before), new Map(servicesOf(catalog))];
  const isAlike = contextOf(before) === contextOf(catalog);
  for (const [service, about] of now) {
    const last = old.get(service);
    if (last === undefined) continue;
    if (isAlike && isSame(last, about)) now.set(service, last);
    else onChanged(last, about);
  }
  known.set(catalog, now);
}

const known = new WeakMap<Catalog, ReadonlyMap<string, About>>();

/** What everything that is made of a service depends on. */
function contextOf({ cluster, gateways, children }: Catalog): string {
  return JSON.stringify([cluster, gateways, children.map((child) => child.cluster)]);
}

function isSame(a: About, b: About): boolean {
  return (
    a.children.length === b.children.length &&
    a.view.length === b.view.length &&
    a.wanted.demand === b.wanted.demand &&
    a.wanted.arrivals === b.wanted.arrivals &&
    a.children.every((one, i) => {
      const { cluster, summary, freshness } = b.children[i]!;
      return one.summary === summary && one.freshness === freshness && one.cluster === cluster;
    }) &&
    a.view.every((entry, i) => entry === b.view[i]) &&
    JSON.stringify(a.own) === JSON.stringify(b.own)
  );
}

type Gathered = About & { readonly children: Heard[]; readonly view: ViewEntry[] };

function gather(catalog: Catalog): Map<string, About> {
  const all = new Map<string, Gathered>();
  const of = (service: string, own?: Summary): Gathered => {
    let about = all.get(service);
    if (about === undefined) {
      const { demand = 0, arrivals = 0 } = catalog.health.get(service as never) ?? {};
      const isOwn = catalog.own.some(({ name }) => name === service);
      const wanted = isOwn ? NOTHING : { demand, arrivals };
      about = { service, own, wanted, children: [], view: [] };
      all.set(service, about);
    }
    return about;
  };
  for (const service of catalog.own) {
    if (service.exported) of(service.name, ownSummary(catalog, service));
  }
  const words = writtenHere(catalog.own);
  for (const { cluster, facts, freshness } of catalog.children) {
    const drained = isDrained(catalog.orders, cluster);
    for (const [service, said] of facts) {
      const told = believable(said, words.get(service));
      const summary = drained ? drainedOf(told) : told;
      of(service).children.push({ cluster, summary, freshness });
    }
  }
  for (const entry of catalog.view) {
    const { service, summary } = entry;
    const told = believable(summary, words.get(service));
    of(service).view.push(told === summary ? entry : { ...entry, summary: told });
  }
  return all;
}

/** A summary with what is believed here of its word about the data; the same one where it is all. */
function believable(summary: Summary, word: Replication | undefined): Summary {
  const said = summary.replication;
  const held = believed(word, said);
  if (held === said) return summary;
  const { replication: _said, ...rest } = summary;
  return held === undefined ? rest : { ...rest, replication: held };
}

const NOTHING = { demand: 0, arrivals: 0 };

/** The same object for the same summary. */
function drainedOf(summary: Summary): Summary {
  let drained = marked.get(summary);
  if (drained === undefined) {
    drained = { ...summary, drained: true };
    marked.set(summary, drained);
  }
  return drained;
}

const marked = new WeakMap<Summary, Summary>();
