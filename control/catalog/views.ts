import { type About, continueFrom, servicesOf } from "#control/catalog/around.ts";
import type { Catalog } from "#control/catalog/catalog.ts";
import { holdGrants, ServiceGrants } from "#control/catalog/grants.ts";
import { heldAbove, stepUp } from "#control/catalog/loads.ts";
import { merge, Sum, type Part as Sumand } from "#control/catalog/merge.ts";
import type { Part } from "#discovery/sync/parts.ts";
import type { ClusterName } from "#model/names.ts";
import type { Freshness } from "#model/snapshot.ts";
import { type GatewayAddress, type Summary, type ViewEntry, viewKey } from "#model/summary.ts";

/**
 * What the cluster says upward: its exported services and all that its children say, summed up.
 * @param told what it has said before: sums hold to it as long as they are about the same.
 */
export function upward(
  catalog: Catalog,
  told?: ReadonlyMap<string, Summary>,
): Map<string, Summary> {
  // Nobody could come: there is no gateway yet.
  if (catalog.gateways.length === 0) return new Map();
  const facts = new Map<string, Summary>();
  for (const [service, about] of servicesOf(catalog)) {
    const parts = partsBelow(catalog, about).map(({ part }) => part);
    if (parts.length === 0) continue;
    const { summary } = merge(parts, catalog.gateways, ServiceGrants.of(catalog, about).offer);
    facts.set(service, parts.length === 1 ? summary : heldTo(summary, told?.get(service)));
  }
  return facts;
}

/** Clients of many places: that their sum moves a little is no news. */
function heldTo(summary: Summary, told: Summary | undefined): Summary {
  const { demand, arrivals } = summary;
  if (told === undefined) return summary;
  return {
    ...summary,
    ...(demand === undefined ? {} : { demand: heldAbove(demand, told.demand) }),
    ...(arrivals === undefined ? {} : { arrivals: heldAbove(arrivals, told.arrivals) }),
  };
}

/**
 * What the cluster shows one child, by service: each sibling by itself, at the sibling's own gateways; and as
 * `parent` everything that is reached through this cluster, at its own gateways. Never the child's own
 * facts (split horizon), so no request is sent to look for a service where it came from.
 */
export function viewParts(catalog: Catalog, child: ClusterName): Map<string, Part<ViewEntry>> {
  const parts = new Map<string, Part<ViewEntry>>();
  for (const [service, about] of servicesOf(catalog)) {
    let shown = known.get(about);
    if (shown === undefined) {
      shown = new Shows(catalog, about);
      known.set(about, shown);
    }
    parts.set(service, shown.to(child));
  }
  return parts;
}

const known = new WeakMap<About, Shows>();
/** What was shown before of the same service. */
const before = new WeakMap<About, ReadonlyMap<ClusterName, Part<ViewEntry>>>();

/** Lets what is made of a catalog hold to what was made of the one before, where that is about the same. */
export function follow(last: Catalog, catalog: Catalog): void {
  continueFrom(last, catalog, (then, now) => {
    holdGrants(then, now);
    const shown = known.get(then);
    if (shown !== undefined) before.set(now, shown.made);
  });
}

/** What all children are shown of one service: what they have in common is made once. */
class Shows {
  // No catalog: it lives longer than that.
  readonly #cluster: ClusterName;
  readonly #gateways: readonly GatewayAddress[];
  readonly #about: About;
  readonly #grants: ServiceGrants;
  readonly #around: Around | undefined;
  readonly #here: ReadonlySet<ClusterName>;
  /** Siblings' entries, by what the one to whom they are shown lacks. */
  readonly #siblings = new Map<number, ReadonlyMap<string, ViewEntry>>();
  readonly made = new Map<ClusterName, Part<ViewEntry>>();
  readonly #last: ReadonlyMap<ClusterName, Part<ViewEntry>> | undefined;

  constructor(catalog: Catalog, about: About) {
    this.#cluster = catalog.cluster;
    this.#gateways = catalog.gateways;
    this.#about = about;
    this.#grants = ServiceGrants.of(catalog, about);
    this.#around =
      catalog.gateways.length === 0 ? undefined : new Around(partsAround(catalog, about));
    this.#here = new Set(about.children.map(({ cluster }) => cluster));
    this.#last = before.get(about);
  }

  to(child: ClusterName): Part<ViewEntry> {
    let part = this.made.get(child);
    if (part === undefined) {
      const { service } = this.#about;
      const shared = this.#siblingsFor(this.#grants.wantOf(child));
      const without = this.#here.has(child) ? viewKey(child, service) : undefined;
      part = { shared, without, own: this.#parentFor(child) };
      this.made.set(child, part);
    }
    return part;
  }

  #siblingsFor(want: number): ReadonlyMap<string, ViewEntry> {
    let entries = this.#siblings.get(want);
    if (entries === undefined) {
      const { service, children } = this.#about;
      const made = new Map<string, ViewEntry>();
      for (const { cluster, summary, freshness } of children) {
        // Clients without any endpoint are no place to go to.
        if (summary.total === 0) continue;
        const grant = this.#grants.towards(cluster, want);
        made.set(
          viewKey(cluster, service),
          siblingEntry(service, summary, { cluster, freshness, grant }),
        );
      }
      this.#siblings.set(want, made);
      entries = made;
    }
    return entries;
  }

  #parentFor(child: ClusterName): ReadonlyMap<string, ViewEntry> {
    const sum = this.#around?.without(child);
    if (sum === undefined) return NOBODY;
    const { service } = this.#about;
    const cluster = this.#cluster;
    const key = viewKey(cluster, service);
    const { summary, freshness } = sum.at(this.#gateways);
    const told = this.#last?.get(child)?.own.get(key)?.summary;
    const grant = this.#grants.throughHere(child);
    const entry: ViewEntry = {
      ...{
        kind: "parent",
        cluster,
        service,
        summary: this.#around!.isSum(child) ? heldTo(summary, told) : summary,
      },
      ...(grant === undefined ? {} : { grant }),
      freshness,
    };
    return new Map([[key, entry]]);
  }
}

const NOBODY: ReadonlyMap<string, ViewEntry> = new Map();

interface Shown {
  readonly cluster: ClusterName;
  readonly freshness: Freshness;
  readonly grant: number | undefined;
}

/** Equal entries are one object for as long as the child says the same: a parent of many makes each of them once. */
function siblingEntry(service: string, summary: Summary, shown: Shown): ViewEntry {
  const { cluster, freshness, grant } = shown;
  let made = entries.get(summary);
  if (made === undefined) {
    made = new Map();
    entries.set(summary, made);
  }
  const key = `${service} ${cluster} ${freshness} ${grant}`;
  let entry = made.get(key);
  if (entry === undefined) {
    // What it offers is told as a grant; its requests per second matter to its parent alone.
    const { offer: _offer, arrivals: _arrivals, ...told } = summary;
    entry = {
      kind: "sibling",
      cluster,
      service,
      summary: told,
      ...(grant === undefined ? {} : { grant }),
      freshness,
    };
    made.set(key, entry);
  }
  return entry;
}

const entries = new WeakMap<Summary, Map<string, ViewEntry>>();

/** A part of a sum, and the child that it is of; undefined: somebody else. */
interface Source {
  readonly child: ClusterName | undefined;
  readonly part: Sumand;
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

  /** Whether what is left without a child's is of more than one source. */
  isSum(child: ClusterName): boolean {
    return this.#before.length - 1 - Number(this.#index.has(child)) > 1;
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

/** Own exported services, children's facts, and what clients of this cluster want that it does not have. */
function partsBelow(catalog: Catalog, about: About): Source[] {
  const { own, children } = about;
  const sources: Source[] = [];
  if (own !== undefined)
    sources.push({ child: undefined, part: { summary: own, freshness: "fresh" } });
  for (const { cluster, summary, freshness } of children) {
    sources.push({ child: cluster, part: { summary, freshness } });
  }
  const wanted = clientsAlone(catalog, about);
  if (wanted !== undefined) sources.push({ child: undefined, part: wanted });
  return sources;
}

/** Of a service that is only elsewhere: nobody here serves it, but somebody wants it. */
function clientsAlone(
  { gateways }: Catalog,
  { wanted, children, view }: About,
): Sumand | undefined {
  const { demand, arrivals } = wanted;
  const known = children[0]?.summary ?? view.at(-1)?.summary;
  if ((demand === 0 && arrivals === 0) || known === undefined) return undefined;
  const { port, appProtocol } = known;
  const summary: Summary = {
    ...{ gateways: [...gateways], healthy: 0, total: 0 },
    ...{ demand: stepUp(demand), arrivals: stepUp(arrivals), port, appProtocol },
  };
  return { summary, freshness: "fresh" };
}

function partsAround(catalog: Catalog, about: About): Source[] {
  const sources = partsBelow(catalog, about);
  // Our parent's own entry is the sum of our siblings too.
  for (const { kind, summary, freshness } of about.view) {
    if (kind === "parent") sources.push({ child: undefined, part: { summary, freshness } });
  }
  return sources;
}
