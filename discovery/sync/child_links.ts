import type { Bus } from "#discovery/bus/bus.ts";
import { FollowerLink } from "#discovery/sync/follower_link.ts";
import type { LeaseState } from "#discovery/sync/lease.ts";
import { encode } from "#discovery/sync/messages.ts";
import { OwnerLink } from "#discovery/sync/owner_link.ts";
import type { Part } from "#discovery/sync/parts.ts";
import {
  needFactsSubject,
  orderSubject,
  POKE,
  readUp,
  UP_ALL,
  viewSubject,
} from "#discovery/sync/subjects.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";
import { isLabel, parseServiceName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import { type Summary, summarySchema, type ViewEntry } from "#model/summary.ts";

/** Services that one child may announce. */
const FACT_QUOTA = 10_000;
/** Messages per second of one child, and as a burst; more are dropped. */
const RATE = 200;
const BURST = 400;

export interface ChildLinksOptions {
  /** On this cluster's own bus. */
  readonly bus: Bus;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly epoch: string;
  /** Whether this label is a child of ours. */
  readonly isChild: (label: string) => boolean;
  /** The last good facts of each child, from disk. */
  readonly restored: ReadonlyMap<string, ReadonlyMap<string, Summary>>;
  readonly onChange: () => void;
}

/** One child as its parent knows it. */
export interface ChildState {
  readonly label: string;
  readonly lease: LeaseState;
  readonly facts: ReadonlyMap<string, Summary>;
}

interface Child {
  readonly facts: FollowerLink<Summary>;
  readonly view: OwnerLink<ViewEntry>;
  readonly orders: OwnerLink<Order>;
  tokens: number;
  tokensAt: Millis;
}

/** A parent's side of the links to its children: their facts come up, a view and orders go down to each. */
export class ChildLinks {
  readonly #options: ChildLinksOptions;
  readonly #children = new Map<string, Child>();
  readonly #subscription: { close(): void };
  readonly #status: { close(): void };
  /** Messages dropped: unknown child, over the rate, or malformed. */
  dropped = 0;

  constructor(options: ChildLinksOptions) {
    this.#options = options;
    const { bus, restored, clock } = options;
    for (const [label, facts] of restored) {
      if (options.isChild(label)) this.#child(label).facts.follower.restore(facts, clock.now());
    }
    // One subscription for all, so that what one child says stays in order.
    this.#subscription = bus.subscribe(UP_ALL, ({ subject, data }) => this.#receive(subject, data));
    const poke = (): void => bus.publish(POKE, new Uint8Array());
    this.#status = bus.onStatus((status) => {
      if (status === "up") poke();
    });
    poke();
  }

  children(): ChildState[] {
    return Array.from(this.#children, ([label, { facts }]) => ({
      label,
      lease: facts.lease,
      facts: new Map(facts.follower.entries()),
    }));
  }

  /** Makes `view` what the child is told of the rest of the mesh, in parts by their names. */
  setView(label: string, view: ReadonlyMap<string, Part<ViewEntry>>): void {
    this.#child(label).view.becomeParts(view);
  }

  /** Makes `orders` what the child has to follow, by their keys. It hears them soon, whatever else is to be said. */
  setOrders(label: string, orders: ReadonlyMap<string, Order>): void {
    this.#child(label).orders.become(orders);
  }

  close(): void {
    this.#subscription.close();
    this.#status.close();
    for (const { facts, view, orders } of this.#children.values()) {
      facts.close();
      view.close(false);
      orders.close(false);
    }
  }

  #receive(subject: string, data: Uint8Array): void {
    const said = readUp(subject);
    if (said === undefined || !isLabel(said.child) || !this.#options.isChild(said.child)) {
      this.dropped++;
      return;
    }
    const child = this.#child(said.child);
    if (!this.#withinRate(child)) this.dropped++;
    else if (said.rest === "need.view") child.view.requested();
    else if (said.rest === "need.order") child.orders.requested();
    else child.facts.receive(said.rest, data);
  }

  #child(label: string): Child {
    let child = this.#children.get(label);
    if (child === undefined) {
      child = this.#begin(label);
      this.#children.set(label, child);
    }
    return child;
  }

  #begin(label: string): Child {
    const { bus, clock, rng, epoch, onChange } = this.#options;
    const facts = new FollowerLink<Summary>({
      clock,
      rng,
      quota: FACT_QUOTA,
      accept: acceptFact,
      sendNeed: (need) => bus.publish(needFactsSubject(label), encode("need", need)),
      onChange,
    });
    const own = { bus, clock, rng, epoch };
    const view = new OwnerLink<ViewEntry>({ ...own, subject: (kind) => viewSubject(label, kind) });
    const orders = new OwnerLink<Order>({ ...own, subject: (kind) => orderSubject(label, kind) });
    return { facts, view, orders, tokens: BURST, tokensAt: clock.now() };
  }

  #withinRate(child: Child): boolean {
    const now = this.#options.clock.now();
    child.tokens = Math.min(BURST, child.tokens + ((now - child.tokensAt) / 1000) * RATE);
    child.tokensAt = now;
    if (child.tokens < 1) return false;
    child.tokens--;
    return true;
  }
}

function acceptFact(key: string, value: unknown): Summary | undefined {
  const summary = summarySchema.safeParse(value);
  const name = parseServiceName(key);
  return summary.success && name.ok && name.value === key ? summary.data : undefined;
}
