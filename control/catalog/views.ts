import { type Catalog, ownSummary } from "#control/catalog/catalog.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { Grants } from "#control/catalog/grants.ts";
import { stepUp } from "#control/catalog/loads.ts";
import { type Part, Sum } from "#control/catalog/merge.ts";
import { believed, writtenHere } from "#control/catalog/replication.ts";
import type { ClusterName } from "#model/names.ts";
import type { Freshness } from "#model/snapshot.ts";
import { type Summary, type ViewEntry, viewKey } from "#model/summary.ts";
import type { Replication } from "#model/traffic_policy.ts";

/** What the cluster says upward: its exported services and all that its children say, summed up. */
export function upward(catalog: Catalog): Map<string, Summary> {
  // Nobody could come: there is no gateway yet.
  if (catalog.gateways.length === 0) return new Map();
  const grants = Grants.of(catalog);
  const facts = new Map<string, Summary>();
  for (const [service, parts] of partsBelow(catalog)) {
    facts.set(service, sumOf(parts).at(catalog.gateways, grants.offer(service)).summary);
  }
  return facts;
}

/**
 * What the cluster shows one child: each sibling by itself, at the sibling's own gateways; and as
 * `parent` everything that is reached through this cluster, at its own gateways. Never the child's own
 * facts (split horizon), so no request is sent to look for a service where it came from.
 */
export function viewFor(catalog: Catalog, child: ClusterName): Map<string, ViewEntry> {
  let views = known.get(catalog);
  if (views === undefined) {
    views = new Views(catalog);
    known.set(catalog, views);
  }
  return views.of(child);
}

const known = new WeakMap<Catalog, Views>();

/** What all children are shown of one catalog: what they have in common is made once. */
class Views {
  readonly #catalog: Catalog;
  readonly #grants: Grants;
  readonly #around: ReadonlyMap<string, Around>;
  readonly #words: ReadonlyMap<string, Replication>;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    this.#grants = Grants.of(catalog);
    this.#words = writtenHere(catalog.own);
    this.#around =
      catalog.gateways.length === 0
        ? new Map()
        : new Map(Array.from(partsAround(catalog), ([name, parts]) => [name, new Around(parts)]));
  }

  of(child: ClusterName): Map<string, ViewEntry> {
    const view = new Map<string, ViewEntry>();
    const { children, orders } = this.#catalog;
    for (const { cluster, facts, freshness } of children) {
      if (cluster === child) continue;
      const drained = isDrained(orders, cluster);
      for (const [service, summary] of facts) {
        // Clients without any endpoint are no place to go to.
        if (summary.total === 0) continue;
        const grant = this.#grants.between(child, cluster, service);
        const told = believable(summary, this.#words.get(service));
        const shown = { cluster, freshness, grant, drained };
        view.set(viewKey(cluster, service), siblingEntry(service, told, shown));
      }
    }
    for (const [service, around] of this.#around) {
      const sum = around.without(child);
      if (sum === undefined) continue;
      const { cluster, gateways } = this.#catalog;
      const { summary, freshness } = sum.at(gateways);
      const grant = this.#grants.throughHere(child, service);
      view.set(viewKey(cluster, service), {
        kind: "parent",
        cluster,
        service,
        summary,
        ...(grant === undefined ? {} : { grant }),
        freshness,
      });
    }
    return view;
  }
}

interface Shown {
  readonly cluster: ClusterName;
  readonly freshness: Freshness;
  readonly grant: number | undefined;
  readonly drained: boolean;
}

/** Equal entries are one object for as long as the child says the same: a parent of many makes each of them once. */
function siblingEntry(service: string, summary: Summary, shown: Shown): ViewEntry {
  const { cluster, freshness, grant, drained } = shown;
  let made = entries.get(summary);
  if (made === undefined) {
    made = new Map();
    entries.set(summary, made);
  }
  const key = `${service} ${cluster} ${freshness} ${grant} ${drained}`;
  let entry = made.get(key);
  if (entry === undefined) {
    // What it offers is told as a grant; its requests per second matter to its parent alone.
    const { offer: _offer, arrivals: _arrivals, ...told } = summary;
    entry = {
      kind: "sibling",
      cluster,
      service,
      summary: drained ? { ...told, drained: true } : told,
      ...(grant === undefined ? {} : { grant }),
      freshness,
    };
    made.set(key, entry);
  }
  return entry;
}

const entries = new WeakMap<Summary, Map<string, ViewEntry>>();

/** A summary with what is believed here of its word about the data; the same one where it is all. */
function believable(summary: Summary, word: Replication | undefined): Summary {
  const said = summary.replication;
  const held = believed(word, said);
  if (held === said) return summary;
  const { replication: _said, ...rest } = summary;
  return held === undefined ? rest : { ...rest, replication: held };
}

/** A part of a sum, and the child that it is of; undefined: somebody else. */
interface Source {
  readonly child: ClusterName | undefined;
  readonly part: Part;
}

/** The sum of all sources of a service, with any child's left out: sums of all before it and all after it. */
class Around {
  readonly #index = new Map<ClusterName, number>();
  readonly #before: Array<Sum | undefined> = [undefined];
  readonly #after: Array<Sum | undefined>;

  constructor(sources: readonly Source[]) {
    const sums = sources.map(({ part }) => Sum.of(part));
    this.#after = new Array(sums.length + 1);
    for (let i = 0; i < sums.length; i++) {
      const { child } = sources[i]!;
      if (child !== undefined) this.#index.set(child, i);
      this.#before.push(plus(this.#before[i], sums[i]));
    }
    for (let i = sums.length - 1; i >= 0; i--) {
      this.#after[i] = plus(sums[i], this.#after[i + 1]);
    }
  }

  /** Undefined: there is nothing else. */
  without(child: ClusterName): Sum | undefined {
    const i = this.#index.get(child);
    return i === undefined ? this.#before.at(-1) : plus(this.#before[i], this.#after[i + 1]);
  }
}

function plus(a: Sum | undefined, b: Sum | undefined): Sum | undefined {
  return a === undefined || b === undefined ? (a ?? b) : a.plus(b);
}

function sumOf(sources: readonly Source[]): Sum {
  return sources.map(({ part }) => Sum.of(part)).reduce((a, b) => a.plus(b));
}

/** Own exported services, children's facts, and what clients of this cluster want that it does not have. */
function partsBelow(catalog: Catalog): Map<string, Source[]> {
  const parts = new Map<string, Source[]>();
  const words = writtenHere(catalog.own);
  for (const service of catalog.own) {
    if (!service.exported) continue;
    const part: Part = { summary: ownSummary(catalog, service), freshness: "fresh" };
    add(parts, service.name, { child: undefined, part });
  }
  for (const { cluster, facts, freshness } of catalog.children) {
    const drained = isDrained(catalog.orders, cluster);
    for (const [service, summary] of facts) {
      const held = believable(summary, words.get(service));
      const told: Summary = drained ? { ...held, drained: true } : held;
      add(parts, service, { child: cluster, part: { summary: told, freshness } });
    }
  }
  for (const { service, part } of clientsAlone(catalog, parts)) {
    add(parts, service, { child: undefined, part });
  }
  return parts;
}

/** Of services that are only elsewhere: nobody here serves them, but somebody wants them. */
function* clientsAlone(
  catalog: Catalog,
  parts: ReadonlyMap<string, readonly Source[]>,
): Iterable<{ readonly service: string; readonly part: Part }> {
  const own = new Set<string>(catalog.own.map(({ name }) => name));
  const about = new Map(catalog.view.map(({ service, summary }) => [service, summary]));
  for (const [service, { demand = 0, arrivals = 0 }] of catalog.health) {
    if (own.has(service) || (demand === 0 && arrivals === 0)) continue;
    const known = parts.get(service)?.[0]?.part.summary ?? about.get(service);
    if (known === undefined) continue;
    const { gateways } = catalog;
    const { port, appProtocol } = known;
    const summary: Summary = {
      gateways: [...gateways],
      healthy: 0,
      total: 0,
      demand: stepUp(demand),
      arrivals: stepUp(arrivals),
      port,
      appProtocol,
    };
    yield { service, part: { summary, freshness: "fresh" } };
  }
}

function partsAround(catalog: Catalog): Map<string, Source[]> {
  const parts = partsBelow(catalog);
  const words = writtenHere(catalog.own);
  // Our parent's own entry is the sum of our siblings too.
  for (const { kind, service, summary, freshness } of catalog.view) {
    if (kind !== "parent") continue;
    const told = believable(summary, words.get(service));
    add(parts, service, { child: undefined, part: { summary: told, freshness } });
  }
  return parts;
}

function add(parts: Map<string, Source[]>, service: string, source: Source): void {
  const list = parts.get(service);
  if (list === undefined) parts.set(service, [source]);
  else list.push(source);
}
