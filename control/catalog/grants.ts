import { allot } from "#control/catalog/allot.ts";
import { type About, servicesOf } from "#control/catalog/around.ts";
import type { Catalog } from "#control/catalog/catalog.ts";
import {
  FLOOR_SHARE,
  heldLevel,
  type Level,
  levelOf,
  partOf,
  Wants,
} from "#control/catalog/level.ts";
import { heldBelow, heldStep, offerOf, stepDown, stepUp, unmetOf } from "#control/catalog/loads.ts";
import { type ClusterName, coreOf } from "#model/names.ts";
import { AMOUNT_MAX, type ViewEntry } from "#model/summary.ts";

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

/** What a cluster grants its children, itself, and who stands above, of one service. */
export class ServiceGrants {
  readonly #around: Around;

  private constructor(around: Around) {
    this.#around = around;
  }

  /** Computed once, for as long as nothing changes about the service. */
  static of(catalog: Catalog, about: About): ServiceGrants {
    return new ServiceGrants(aroundOf(catalog, about));
  }

  /** What a child that lacks so much may send to its sibling `to` directly; undefined: no limit is known. */
  towards(to: ClusterName, want: number): number | undefined {
    const inside = this.#around.divided.get(to)?.inside;
    return inside === undefined ? 0 : bounded(partOf(inside, want));
  }

  /** What a child's clients want and it does not bear itself. */
  wantOf(child: ClusterName): number {
    return this.#around.unmet.get(child) ?? 0;
  }

  /** What this cluster may send to its child. */
  toChild(child: ClusterName): number | undefined {
    return bounded(this.#around.divided.get(child)?.through ?? 0);
  }

  /** What `child` may send to this cluster, to be served by it, by its other children, or further up. */
  throughHere(child: ClusterName): number | undefined {
    const { divided, borne, wants } = this.#around;
    const own = divided.get(child)?.through ?? 0;
    // Without bound, even if it is the child alone that has none: what that bears nobody can subtract.
    const total = borne === Number.POSITIVE_INFINITY ? borne : borne - own;
    return bounded(partOf(levelOf(total, wants), this.wantOf(child)));
  }

  /** What others may send to this cluster, for it and all that is below. */
  get offer(): number | undefined {
    return bounded(this.#around.offer);
  }
}

/** The same of all services, by their names. */
export class Grants {
  readonly #catalog: Catalog;

  private constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  static of(catalog: Catalog): Grants {
    return new Grants(catalog);
  }

  /** What `from` may send to its sibling `to` directly; undefined: no limit is known. */
  between(from: ClusterName, to: ClusterName, service: string): number | undefined {
    const grants = this.#service(service);
    return grants === undefined ? 0 : grants.towards(to, grants.wantOf(from));
  }

  toChild(child: ClusterName, service: string): number | undefined {
    const grants = this.#service(service);
    return grants === undefined ? 0 : grants.toChild(child);
  }

  throughHere(child: ClusterName, service: string): number | undefined {
    const grants = this.#service(service);
    return grants === undefined ? 0 : grants.throughHere(child);
  }

  offer(service: string): number | undefined {
    const grants = this.#service(service);
    return grants === undefined ? 0 : grants.offer;
  }

  #service(service: string): ServiceGrants | undefined {
    const about = servicesOf(this.#catalog).get(service);
    return about && ServiceGrants.of(this.#catalog, about);
  }
}

function aroundOf(catalog: Catalog, about: About): Around {
  let here = known.get(about);
  if (here === undefined) {
    here = around(about, catalog, before.get(about));
    known.set(about, here);
  }
  return here;
}

/** Lets what is granted of a service hold to what was granted, where that is about the same. */
export function holdGrants(last: About, now: About): void {
  const granted = known.get(last) ?? before.get(last);
  if (granted !== undefined) before.set(now, granted);
}

const known = new WeakMap<About, Around>();
const before = new WeakMap<About, Around>();

function bounded(grant: number): number | undefined {
  return grant === Number.POSITIVE_INFINITY ? undefined : Math.min(grant, AMOUNT_MAX);
}

function around(about: About, catalog: Catalog, last: Around | undefined): Around {
  const { own, children, view } = about;
  const ownUnmet = own === undefined ? stepUp(about.wanted.demand) : unmetOf(own);
  const unmet = new Map<ClusterName, number>();
  const [inside, wants] = [new Wants(), new Wants()];
  for (const { cluster, summary } of children) {
    const want = unmetOf(summary);
    if (want > 0) unmet.set(cluster, want);
    inside.add(want);
    wants.add(want);
  }
  const silent = catalog.children.length - children.length;
  inside.add(0, silent);
  wants.add(0, silent);
  wants.add(ownUnmet);
  const outside = ownUnmet + unmetAbove(view);
  const isCore = catalog.cluster === coreOf(catalog.mesh);
  const divided = new Map<ClusterName, Divided>();
  let below = own === undefined ? 0 : offerOf(own);
  for (const { cluster, summary } of children) {
    const granted = last?.divided.get(cluster);
    const asked = { outside, isCore, granted };
    const one = divide(offerOf(summary), inside, unmet.get(cluster) ?? 0, asked);
    divided.set(cluster, one);
    below += one.through;
  }
  const above = view.reduce((sum, entry) => sum + grantedBy(entry), 0);
  const offer = heldBelow(Math.max(below - ownUnmet, FLOOR_SHARE * below), last?.offer);
  return { unmet, divided, wants, borne: below + above, offer };
}

interface Asked {
  readonly outside: number;
  readonly isCore: boolean;
  /** What was granted before. */
  readonly granted: Divided | undefined;
}

/** First between its siblings and all that come through us, then among the siblings. */
function divide(
  offer: number,
  wants: Wants,
  own: number,
  { outside, isCore, granted }: Asked,
): Divided {
  const siblings = wants.claimants - 1;
  if (offer === Number.POSITIVE_INFINITY || siblings === 0) {
    const level = levelOf(offer, wants, own);
    return { inside: heldLevel(level, granted?.inside), through: stepDown(offer) };
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
  return {
    inside: heldLevel(levelOf(inside!, wants, own), granted?.inside),
    through: heldStep(through!, granted?.through),
  };
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
