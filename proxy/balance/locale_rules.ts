import { type ClusterName, firstLabel, isWithin, restOf } from "#model/names.ts";
import type { Service } from "#model/snapshot.ts";
import { NOWHERE } from "#model/traffic_policy.ts";
import type { LocaleState } from "#proxy/balance/locale_state.ts";
import type { DataNeed, PickConstraint } from "#proxy/balance/pick_constraint.ts";
import type { WaterfallPart } from "#proxy/balance/waterfall.ts";

/** Why a request may not go to a locale, however well it is. */
export type Refusal =
  | "drained"
  /** Local, for requests of other clusters: not exported. */
  | "private"
  /** Not the tree's way: who has sent it knows this one as well as we do. */
  | "walk"
  | "visited"
  /** Outside of what the request's address names. */
  | "subtree"
  /** Outside of where the service's requests must stay. */
  | "fence"
  /** A write, and it does not lead to the primary. */
  | "primary"
  /** A read, and its data may be too old. */
  | "stale";

/** A part of `places.split`, or what `places.pin` names. */
export interface Part extends WaterfallPart {
  readonly cluster: ClusterName;
  /** The subtree that must serve it: the part's, within where the service must stay. */
  readonly within: ClusterName;
}

/** The locales through which a subtree is served. */
interface Subtree {
  /** Where a request must be served; undefined: anywhere. */
  readonly within: ClusterName | undefined;
  /** By locale; undefined: all. */
  readonly members: Uint8Array | undefined;
}

/** Subtrees that requests may name before they are worked out anew: clients choose them. */
const SUBTREES_MAX = 64;
/** Clusters that send requests, before it is worked out anew where they lie. */
const SENDERS_MAX = 4_096;

/** What rules say of the locales of one service, worked out once so that a request only looks it up. */
export class LocaleRules {
  /** Shares that are to be served in certain subtrees; none: all go anywhere. */
  readonly parts: readonly Part[];
  /** True if the one part is a pin and not a split. */
  readonly isPinned: boolean;
  readonly #service: Service;
  readonly #self: ClusterName;
  readonly #locales: readonly LocaleState[];
  /** Of requests that name no subtree. */
  readonly #fence: Subtree;
  readonly #named = new Map<ClusterName, Subtree>();
  /** Whether clusters that have sent a request lie below us. */
  readonly #below = new Map<ClusterName, boolean>();
  /** By locale; not 0: it leads to the primary. Undefined: there is no such thing. */
  readonly #toPrimary: Uint8Array | undefined;

  constructor(service: Service, self: ClusterName, locales: readonly LocaleState[]) {
    this.#service = service;
    this.#self = self;
    this.#locales = locales;
    const { mustStayIn, pin, split = [] } = service.policy?.places ?? {};
    this.#fence =
      mustStayIn === undefined
        ? { within: undefined, members: undefined }
        : this.#subtree(mustStayIn);
    this.isPinned = pin !== undefined;
    const wanted = pin === undefined ? split : [{ cluster: pin, weight: 1 }];
    const total = wanted.reduce((sum, { weight }) => sum + weight, 0);
    this.parts = total === 0 ? [] : wanted.map((part) => this.#part(part, total));
    const primary = service.replication?.primary;
    this.#toPrimary = primary === undefined ? undefined : this.#waysTo(primary);
  }

  /** Why the rules keep a request from the locale; undefined: they do not. */
  refusal(i: number, constraint: PickConstraint): Refusal | undefined {
    const { locale, kind, cluster } = this.#locales[i]!;
    if (locale.drained === true) return "drained";
    if (kind === "local") {
      if (constraint.foreign && !this.#service.exported) return "private";
    } else if (constraint.visited.length > 0) {
      if (!this.#mayWalk(kind, constraint.visited.at(-1)!)) return "walk";
      if (constraint.visited.includes(cluster)) return "visited";
    }
    const { within, members } = this.#subtreeOf(constraint);
    if (members !== undefined && members[i] === 0) {
      return within === NOWHERE || this.isFenced(i) ? "fence" : "subtree";
    }
    return constraint.data === undefined ? undefined : this.#dataRefusal(i, constraint.data);
  }

  /** Whether a cluster that has sent us a request lies below us. */
  isBelow(sender: ClusterName): boolean {
    let below = this.#below.get(sender);
    if (below === undefined) {
      if (this.#below.size >= SENDERS_MAX) this.#below.clear();
      below = this.#liesBelow(sender);
      this.#below.set(sender, below);
    }
    return below;
  }

  /**
   * Requests walk the tree and do not wander: up, at most once sideways, then down. What comes from a child may go
   * anywhere. A sibling knows whom we could ask beside and above us, and so does the parent: what they send is for
   * ourselves and for those below. So no way leads through a cluster twice, and none is longer than up and down again.
   */
  #mayWalk(to: LocaleState["kind"], sender: ClusterName): boolean {
    return (to !== "sibling" && to !== "parent") || this.isBelow(sender);
  }

  #liesBelow(sender: ClusterName): boolean {
    const known = this.#locales.find(({ cluster }) => cluster === sender);
    if (known !== undefined) return known.kind === "child";
    if (isWithin(sender, this.#self)) return true;
    // Below the core is all of the mesh, though its name does not say so.
    return firstLabel(this.#self) === "core" && isWithin(sender, restOf(this.#self));
  }

  /** True if it lies outside of where the service's requests must stay, and leads nowhere inside. */
  isFenced(i: number): boolean {
    return this.#fence.members?.[i] === 0;
  }

  /** The subtree that must serve a request: the narrower of what it names and of where the service must stay. */
  within(constraint: PickConstraint): ClusterName | undefined {
    return this.#subtreeOf(constraint).within;
  }

  /** Where the service's requests must stay; undefined: anywhere. */
  get fence(): ClusterName | undefined {
    return this.#fence.within;
  }

  /** How old what is read there may be, ms; Infinity: nobody knows. */
  stalenessOf(i: number): number {
    if (this.#toPrimary?.[i] !== 0) return 0;
    const state = this.#locales[i]!;
    return this.#hasReplica(state) ? (state.stalenessMs ?? Infinity) : Infinity;
  }

  /** Whether a locale leads to the cluster that takes writes. */
  leadsToPrimary(i: number): boolean {
    return this.#toPrimary?.[i] !== 0;
  }

  #dataRefusal(i: number, { write, maxStalenessMs }: DataNeed): Refusal | undefined {
    if (this.#toPrimary === undefined) return undefined;
    if (write) return this.#toPrimary[i] === 0 ? "primary" : undefined;
    return this.stalenessOf(i) > maxStalenessMs ? "stale" : undefined;
  }

  #hasReplica(state: LocaleState): boolean {
    const replicas = this.#service.replication?.replicas ?? [];
    if (state.kind === "local") return replicas.includes(state.cluster);
    return state.kind === "gateway" || replicas.some((replica) => this.#leadsTo(state, replica));
  }

  #waysTo(primary: ClusterName): Uint8Array {
    return this.#members((state) =>
      state.kind === "local" ? state.cluster === primary : this.#leadsTo(state, primary),
    );
  }

  #subtreeOf({ within }: PickConstraint): Subtree {
    if (within === undefined) return this.#fence;
    const known = this.#named.get(within);
    if (known !== undefined) return known;
    if (this.#named.size >= SUBTREES_MAX) this.#named.clear();
    const made = this.#subtree(narrower(within, this.#fence.within));
    this.#named.set(within, made);
    return made;
  }

  #part(of: { cluster: ClusterName; weight: number }, total: number): Part {
    const within = narrower(of.cluster, this.#fence.within);
    const members = this.#subtree(within).members!;
    return { cluster: of.cluster, within, share: of.weight / total, members };
  }

  #subtree(within: ClusterName): Subtree {
    const members = this.#members((state) => within !== NOWHERE && this.#serves(state, within));
    return { within, members };
  }

  /** Whether somebody within the subtree can be reached through a locale. */
  #serves(state: LocaleState, within: ClusterName): boolean {
    return isWithin(state.cluster, within) || this.#leadsTo(state, within);
  }

  /** Whether a cluster lies beyond a locale. */
  #leadsTo({ kind, cluster }: LocaleState, other: ClusterName): boolean {
    switch (kind) {
      case "local":
        return false;
      case "child":
      case "sibling":
        return isWithin(other, cluster);
      // Through the parent to another subtree, but not to look for our own.
      case "parent":
        return !isWithin(other, this.#self);
      case "gateway":
        return true;
      default:
        return kind satisfies never;
    }
  }

  #members(is: (state: LocaleState) => boolean): Uint8Array {
    return Uint8Array.from(this.#locales, (state) => (is(state) ? 1 : 0));
  }
}

function narrower(one: ClusterName, fence: ClusterName | undefined): ClusterName {
  if (fence === undefined || isWithin(one, fence)) return one;
  return isWithin(fence, one) ? fence : NOWHERE;
}
