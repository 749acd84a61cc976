import type { Bus } from "#discovery/bus/bus.ts";
import { FollowerLink } from "#discovery/sync/follower_link.ts";
import type { LeaseState } from "#discovery/sync/lease.ts";
import { encode } from "#discovery/sync/messages.ts";
import { OwnerLink } from "#discovery/sync/owner_link.ts";
import {
  downOf,
  factSubject,
  needOrdersSubject,
  needViewSubject,
  POKE,
} from "#discovery/sync/subjects.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import { type Order, orderKey, orderKindOf, orderSchema } from "#model/order.ts";
import { type Summary, type ViewEntry, viewEntrySchema, viewKey } from "#model/summary.ts";

/** Entries of a view at most. */
const VIEW_QUOTA = 100_000;
/** Orders of each kind at most. */
const ORDER_QUOTA = 10_000;
const POKE_JITTER_MS = 500;

export interface ParentLinkOptions {
  /** On the parent's bus. */
  readonly bus: Bus;
  /** This cluster's first label: its token there. */
  readonly label: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly epoch: string;
  /** The last good view, from disk. */
  readonly restored: readonly ViewEntry[];
  /** The last good orders, from disk. */
  readonly restoredOrders: readonly Order[];
  /** Whether orders of this cluster are to be followed: it stands above. */
  readonly isAbove: (cluster: string) => boolean;
  readonly onChange: () => void;
  /** The orders have changed, nothing else. */
  readonly onOrders: () => void;
}

/** A cluster's side of the link to its parent: its facts go up, its view and its orders come down. */
export class ParentLink {
  readonly #options: ParentLinkOptions;
  readonly #facts: OwnerLink<Summary>;
  readonly #view: FollowerLink<ViewEntry>;
  readonly #orders: FollowerLink<Order>;
  readonly #subscriptions: Array<{ close(): void }> = [];
  #poked: Timer | undefined = undefined;

  constructor(options: ParentLinkOptions) {
    this.#options = options;
    const { bus, label, clock, rng, epoch, restored } = options;
    this.#view = new FollowerLink({
      clock,
      rng,
      quota: VIEW_QUOTA,
      accept: acceptViewEntry,
      sendNeed: (need) => bus.publish(needViewSubject(label), encode("need", need)),
      onChange: options.onChange,
    });
    const kept = restored.map((entry) => [viewKey(entry.cluster, entry.service), entry] as const);
    if (kept.length > 0) this.#view.follower.restore(kept, clock.now());
    this.#orders = new FollowerLink({
      clock,
      rng,
      quota: ORDER_QUOTA,
      kindOf: orderKindOf,
      accept: (key, value) => acceptOrder(key, value, options.isAbove),
      sendNeed: (need) => bus.publish(needOrdersSubject(label), encode("need", need)),
      onChange: options.onOrders,
    });
    const orders = options.restoredOrders.map((order) => [orderKey(order), order] as const);
    if (orders.length > 0) this.#orders.follower.restore(orders, clock.now());
    this.#subscriptions.push(
      bus.subscribe(downOf(label), ({ subject, data }) => {
        const rest = subject.split(".").slice(4);
        if (rest[0] === "view" && rest.length === 2) this.#view.receive(rest[1]!, data);
        else if (rest[0] === "order" && rest.length === 2) this.#orders.receive(rest[1]!, data);
        else if (rest[0] === "need") this.#facts.requested();
      }),
      bus.subscribe(POKE, () => this.#pokedByParent()),
    );
    this.#facts = new OwnerLink({
      bus,
      clock,
      rng,
      epoch,
      subject: (kind) => factSubject(label, kind),
    });
  }

  /** Makes `facts` what this cluster says of itself and of all below it. */
  publish(facts: ReadonlyMap<string, Summary>): void {
    this.#facts.become(facts);
  }

  /**
   * What is known of the rest of the mesh. It does not end with the parent: a parent that is away is no
   * news of anybody's death, so its lease only tells how old the view is.
   */
  view(): { readonly entries: readonly ViewEntry[]; readonly lease: LeaseState } {
    const entries = Array.from(this.#view.follower.entries(), ([, entry]) => entry);
    return { entries, lease: this.#view.lease };
  }

  /**
   * What the clusters above order. Orders do not end with the parent either: who has taken a cluster out of service
   * wants it out until he says otherwise.
   */
  orders(): Order[] {
    return Array.from(this.#orders.follower.entries(), ([, order]) => order);
  }

  /** @param bye true: the cluster leaves; false: its control service only restarts. */
  close(bye: boolean): void {
    for (const subscription of this.#subscriptions) subscription.close();
    this.#poked?.cancel();
    this.#facts.close(bye);
    this.#view.close();
    this.#orders.close();
  }

  /** Spread out, for all siblings were poked at once. */
  #pokedByParent(): void {
    const { clock, rng } = this.#options;
    this.#poked?.cancel();
    this.#poked = clock.after(POKE_JITTER_MS * rng.next(), () => this.#facts.beat());
  }
}

function acceptViewEntry(key: string, value: unknown): ViewEntry | undefined {
  const entry = viewEntrySchema.safeParse(value);
  if (!entry.success || key !== viewKey(entry.data.cluster, entry.data.service)) return undefined;
  return entry.data;
}

function acceptOrder(
  key: string,
  value: unknown,
  isAbove: (cluster: string) => boolean,
): Order | undefined {
  const order = orderSchema.safeParse(value);
  if (!order.success || key !== orderKey(order.data) || !isAbove(order.data.from)) return undefined;
  return order.data;
}
