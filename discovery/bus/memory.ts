import {
  BUS_PAYLOAD_MAX,
  type Bus,
  type BusMessage,
  type BusPermissions,
  type BusRefusal,
  type BusStatus,
  type BusSubscription,
} from "#discovery/bus/bus.ts";
import { isAllowed, isConcrete, subjectMatches } from "#discovery/bus/subjects.ts";
import { BoundedQueue } from "#kernel/bounded_queue.ts";
import type { Millis } from "#kernel/brand.ts";
import type { Clock, Timer } from "#kernel/clock.ts";
import type { Rng } from "#kernel/rng.ts";

/** How long a client takes to notice a black hole: two pings unanswered (see `nats.ts`). */
const NOTICE_MS: Millis = 4_000;

/** The way between one client and the broker, and what is wrong with it. */
export interface BusLink {
  delayMs: Millis;
  /** Share of messages that get lost, 0 to 1. Not in NATS over TCP: harsher than it. */
  loss: number;
  /** Nothing passes; the client notices after a while. */
  down: boolean;
}

export interface MemoryBrokerOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly noticeMs?: Millis;
}

/**
 * One cluster's bus inside a process: what a nats-server does for us, with the same permissions, and
 * with faults on demand.
 */
export class MemoryBroker {
  readonly options: MemoryBrokerOptions;
  readonly #clients = new Map<string, MemoryBus>();
  readonly #links = new Map<string, BusLink>();

  constructor(options: MemoryBrokerOptions) {
    this.options = options;
  }

  /** Connects `principal`; a second connection under the same name replaces the first. */
  connect(principal: string, permissions: BusPermissions): Bus {
    const bus = new MemoryBus(this, this.link(principal), permissions);
    this.#clients.set(principal, bus);
    return bus;
  }

  /** Faults of one principal's link, to be changed at will. */
  link(principal: string): BusLink {
    let link = this.#links.get(principal);
    if (link === undefined) {
      link = { delayMs: 0, loss: 0, down: false };
      this.#links.set(principal, link);
    }
    return link;
  }

  /** Called by clients. Every other client that listens gets it, in order per sender. */
  route(from: MemoryBus, message: BusMessage): void {
    for (const client of this.#clients.values()) {
      if (client !== from) client.deliver(message);
    }
  }
}

/** Messages that may be under way in one direction; a client that is slower is cut off from more. */
const LANE_MAX = 10_000;

/** One direction of a link: in order, as TCP has it, late and lossy as the link is. */
class Lane {
  readonly #link: BusLink;
  readonly #options: MemoryBrokerOptions;
  readonly #waiting = new BoundedQueue<() => void>(LANE_MAX);

  constructor(link: BusLink, options: MemoryBrokerOptions) {
    this.#link = link;
    this.#options = options;
  }

  pass(arrive: () => void): void {
    const { clock, rng } = this.#options;
    const { down, loss, delayMs } = this.#link;
    if (down || (loss > 0 && rng.next() < loss) || !this.#waiting.push(arrive)) return;
    // Whoever's time has come takes the oldest: a shorter delay overtakes nobody.
    clock.after(delayMs, () => {
      const next = this.#waiting.shift();
      if (!this.#link.down) next?.();
    });
  }
}

interface Interest {
  readonly pattern: string;
  readonly receive: (message: BusMessage) => void;
}

class MemoryBus implements Bus {
  readonly #broker: MemoryBroker;
  readonly #link: BusLink;
  readonly #permissions: BusPermissions;
  readonly #interests = new Set<Interest>();
  readonly #onStatus = new Set<(status: BusStatus) => void>();
  readonly #onRefusal = new Set<(refusal: BusRefusal) => void>();
  readonly #watch: Timer;
  #downSince: Millis | undefined = undefined;
  #status: BusStatus = "up";
  #closed = false;
  readonly #up: Lane;
  readonly #down: Lane;

  constructor(broker: MemoryBroker, link: BusLink, permissions: BusPermissions) {
    this.#broker = broker;
    this.#link = link;
    this.#permissions = permissions;
    this.#up = new Lane(link, broker.options);
    this.#down = new Lane(link, broker.options);
    this.#watch = broker.options.clock.every(100, () => this.#look());
  }

  publish(subject: string, data: Uint8Array): void {
    if (this.#closed || this.#status === "down" || !isConcrete(subject)) return;
    if (data.length > BUS_PAYLOAD_MAX) return;
    // A copy: over a wire the sender's buffer would not be shared either.
    const message = { subject, data: data.slice() };
    this.#up.pass(() => {
      if (isAllowed(this.#permissions.publish, subject)) this.#broker.route(this, message);
      else this.#refused({ kind: "publish_denied", subject });
    });
  }

  subscribe(subject: string, receive: (message: BusMessage) => void): BusSubscription {
    const interest = { pattern: subject, receive };
    if (isAllowed(this.#permissions.subscribe, subject)) this.#interests.add(interest);
    else this.#down.pass(() => this.#refused({ kind: "subscribe_denied", subject }));
    return { close: () => void this.#interests.delete(interest) };
  }

  status(): BusStatus {
    return this.#status;
  }

  onStatus(listen: (status: BusStatus) => void): BusSubscription {
    this.#onStatus.add(listen);
    return { close: () => void this.#onStatus.delete(listen) };
  }

  onRefusal(listen: (refusal: BusRefusal) => void): BusSubscription {
    this.#onRefusal.add(listen);
    return { close: () => void this.#onRefusal.delete(listen) };
  }

  flush(): Promise<boolean> {
    if (this.#closed || this.#link.down) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#broker.options.clock.after(2 * this.#link.delayMs, () => resolve(!this.#link.down));
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watch.cancel();
    this.#interests.clear();
  }

  /** From the broker. */
  deliver(message: BusMessage): void {
    if (this.#closed) return;
    for (const interest of this.#interests) {
      if (!subjectMatches(interest.pattern, message.subject)) continue;
      this.#down.pass(() => {
        if (this.#interests.has(interest)) interest.receive(message);
      });
    }
  }

  #refused(refusal: BusRefusal): void {
    for (const listen of this.#onRefusal) listen(refusal);
  }

  #look(): void {
    const { clock, noticeMs } = this.#broker.options;
    if (!this.#link.down) {
      this.#downSince = undefined;
      this.#turn("up");
      return;
    }
    this.#downSince ??= clock.now();
    if (clock.now() - this.#downSince >= (noticeMs ?? NOTICE_MS)) this.#turn("down");
  }

  #turn(status: BusStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    for (const listen of this.#onStatus) listen(status);
  }
}
