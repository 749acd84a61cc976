import { allot } from "#control/catalog/allot.ts";
import { type Catalog, ownSummary } from "#control/catalog/catalog.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { FLOOR_SHARE, type Level, levelOf, partOf, Wants } from "#control/catalog/level.ts";
import { digitsDown, offerOf, stepDown, stepUp, unmetOf } from "#control/catalog/loads.ts";
import { type ClusterName, coreOf } from "#model/names.ts";
import { AMOUNT_MAX, type Summary, type ViewEntry } from "#model/summary.ts";

/*
 * Who may send how much where; docs/routing/grants.md has the maths. All of it is per service and in concurrent
 * requests; Infinity is what nobody has declared. It costs children × services.
 */

/** What one child offers, divided. */
interface Divided {
  /** What its siblings may send there directly. */
  readonly inside: Level;
  /** What this cluster may send there: for its own clients, and for all that come through it. */
  readonly through: number;
}

/** The loads of one service around one cluster. */
interface Around {
  /** What each child wants and does not bear itself; who is not here wants nothing. */
  readonly unmet: ReadonlyMap<ClusterName, number>;
  readonly divided: ReadonlyMap<ClusterName, Divided>;
  /** What the children want, and this cluster's own clients. */
  readonly wants: Wants;
  /** What this cluster may send to itself, to its children, its siblings and its parent. */
  readonly borne: number;
  /** What others may send to this cluster. */
  readonly offer: number;
}

/** What a cluster grants its children, itself, and who stands above. */
export class Grants {
  readonly #around = new Map<string, Around>();

  private constructor(catalog: Catalog) {
    const viewed = Map.groupBy(catalog.view, ({ service }) => service);
    const said = childrenOf(catalog);
    for (const service of servicesOf(catalog)) {
      const loads = { catalog, said, viewed: viewed.get(service) ?? [] };
      this.#around.set(service, around(loads, service));
    }
  }

  /** Computed once per catalog. */
  static of(catalog: Catalog): Grants {
    let grants = known.get(catalog);
    if (grants === undefined) {
      grants = new Grants(catalog);
      known.set(catalog, grants);
    }
    return grants;
  }

  /** What `from` may send to its sibling `to` directly; undefined: no limit is known. */
  between(from: ClusterName, to: ClusterName, service: string): number | undefined {
    const here = this.#around.get(service);
    const inside = here?.divided.get(to)?.inside;
    return inside === undefined ? 0 : bounded(partOf(inside, here!.unmet.get(from) ?? 0));
  }

  /** What this cluster may send to its child. */
  toChild(child: ClusterName, service: string): number | undefined {
    return bounded(this.#around.get(service)?.divided.get(child)?.through ?? 0);
  }

  /** What `child` may send to this cluster, to be served by it, by its other children, or further up. */
  throughHere(child: ClusterName, service: string): number | undefined {
    const here = this.#around.get(service);
    if (here === undefined) return 0;
    const own = here.divided.get(child)?.through ?? 0;
    // Without bound, even if it is the child alone that has none: what that bears nobody can subtract.
    const total = here.borne === Number.POSITIVE_INFINITY ? here.borne : here.borne - own;
    return bounded(partOf(levelOf(total, here.wants), here.unmet.get(child) ?? 0));
  }

  /** What others may send to this cluster, for it and all that is below. */
  offer(service: string): number | undefined {
    return bounded(this.#around.get(service)?.offer ?? 0);
  }
}

const known = new WeakMap<Catalog, Grants>();

function bounded(grant: number): number | undefined {
  return grant === Number.POSITIVE_INFINITY ? undefined : Math.min(grant, AMOUNT_MAX);
}

function servicesOf({ own, children, view }: Catalog): Set<string> {
  const names = new Set<string>();
  for (const { name, exported } of own) if (exported) names.add(name);
  for (const { facts } of children) for (const name of facts.keys()) names.add(name);
  for (const { service } of view) names.add(service);
  return names;
}

/** What a child says, and whether it is taken out. */
interface Said {
  readonly cluster: ClusterName;
  readonly facts: ReadonlyMap<string, Summary>;
  readonly drained: boolean;
}

function childrenOf({ children, orders }: Catalog): Said[] {
  return children.map(({ cluster, facts }) => {
    return { cluster, facts, drained: isDrained(orders, cluster) };
  });
}

function summaryOf({ facts, drained }: Said, service: string): Summary | undefined {
  const summary = facts.get(service);
  return drained && summary !== undefined ? { ...summary, drained: true } : summary;
}

interface Loads {
  readonly catalog: Catalog;
  readonly said: readonly Said[];
  /** Of this service. */
  readonly viewed: readonly ViewEntry[];
}

function around({ catalog, said, viewed }: Loads, service: string): Around {
  const own = catalog.own.find(({ name, exported }) => exported && name === service);
  const about = own && ownSummary(catalog, own);
  const ownUnmet = about === undefined ? demandHere(catalog, service) : unmetOf(about);
  const unmet = new Map<ClusterName, number>();
  const [inside, wants] = [new Wants(), new Wants()];
  for (const child of said) {
    const { cluster } = child;
    const summary = summaryOf(child, service);
    const want = summary === undefined ? 0 : unmetOf(summary);
    if (want > 0) unmet.set(cluster, want);
    inside.add(want);
    wants.add(want);
  }
  wants.add(ownUnmet);
  const outside = ownUnmet + unmetAbove(viewed);
  const isCore = catalog.cluster === coreOf(catalog.mesh);
  const divided = new Map<ClusterName, Divided>();
  let below = about === undefined ? 0 : offerOf(about);
  for (const child of said) {
    const { cluster } = child;
    const summary = summaryOf(child, service);
    if (summary === undefined) continue;
    const one = divide(offerOf(summary), inside, unmet.get(cluster) ?? 0, { outside, isCore });
    divided.set(cluster, one);
    below += one.through;
  }
  const above = viewed.reduce((sum, entry) => sum + grantedBy(entry), 0);
  const offer = digitsDown(Math.max(below - ownUnmet, FLOOR_SHARE * below));
  return { unmet, divided, wants, borne: below + above, offer };
}

/** First between its siblings and all that come through us, then among the siblings. */
function divide(
  offer: number,
  wants: Wants,
  own: number,
  { outside, isCore }: { readonly outside: number; readonly isCore: boolean },
): Divided {
  const siblings = wants.claimants - 1;
  if (offer === Number.POSITIVE_INFINITY || siblings === 0) {
    return { inside: levelOf(offer, wants, own), through: stepDown(offer) };
  }
  const floor = FLOOR_SHARE * offer;
  const asked = [wants.sum - own, outside].map((want) => Math.max(want, floor));
  const left = offer - asked[0]! - asked[1]!;
  // Through the core nobody comes but its own clients, as one more sibling; through others the rest of the mesh.
  const share = isCore ? 1 / (siblings + 1) : 0.5;
  const [inside, through] =
    left < 0
      ? allot(offer, [{ want: asked[0]! }, { want: asked[1]! }])
      : [asked[0]! + left * (1 - share), asked[1]! + left * share];
  return { inside: levelOf(inside!, wants, own), through: stepDown(through!) };
}

/** Of a service that has no endpoints here. */
function demandHere({ health }: Catalog, service: string): number {
  return stepUp(health.get(service as never)?.demand ?? 0);
}

/** What comes through us from above, if those there have too little: the parent's entry nets out what siblings lack. */
function unmetAbove(viewed: readonly ViewEntry[]): number {
  let [siblings, rest] = [0, 0];
  for (const { kind, summary } of viewed) {
    if (kind === "sibling") siblings += unmetOf(summary);
    else rest += unmetOf(summary);
  }
  return Math.max(siblings, rest);
}

/** What we may send to another; a parent that tells no grant sets no limit. */
function grantedBy({ summary, grant }: ViewEntry): number {
  const bears = offerOf({ ...summary, offer: undefined });
  return bears === 0 ? 0 : (grant ?? Number.POSITIVE_INFINITY);
}
