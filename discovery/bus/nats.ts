import { connect, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import {
  BUS_PAYLOAD_MAX,
  type Bus,
  type BusMessage,
  type BusRefusal,
  type BusStatus,
  type BusSubscription,
} from "#discovery/bus/bus.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
import { type Clock, sleep } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import type { Rng } from "#kernel/rng.ts";

export interface NatsBusOptions {
  /** `host:port`. */
  readonly server: string;
  readonly name: string;
  /**
   * Options of Node's `tls.connect`, asked for at each dial, so that a renewed identity is used from
   * the next one on; undefined: plain text.
   */
  readonly tls?: () => object;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
}

/** A black hole is noticed after this many ms times two, at worst times three. */
const PING_MS = 2_000;
const SUBSCRIPTIONS_MAX = 64;

interface Interest {
  readonly subject: string;
  readonly receive: (message: BusMessage) => void;
}

/**
 * A bus on a nats-server. The library reconnects by itself until it gives up (twice refused, say);
 * then we start anew, so that a bus is down only as long as its server is.
 */
export class NatsBus implements Bus {
  readonly #options: NatsBusOptions;
  readonly #interests = new Set<Interest>();
  readonly #open = new Map<Interest, { unsubscribe(): void }>();
  readonly #onStatus = new Set<(status: BusStatus) => void>();
  readonly #onRefusal = new Set<(refusal: BusRefusal) => void>();
  #connection: NatsConnection | undefined = undefined;
  #status: BusStatus = "down";
  #closed = false;
  readonly #supervised: Promise<void>;

  /** Returns at once; `status()` is `down` until the server has been reached. */
  constructor(options: NatsBusOptions) {
    this.#options = options;
    this.#supervised = this.#supervise();
  }

  publish(subject: string, data: Uint8Array): void {
    if (this.#status === "down" || data.length > BUS_PAYLOAD_MAX) return;
    this.#connection?.publish(subject, data);
  }

  subscribe(subject: string, receive: (message: BusMessage) => void): BusSubscription {
    const interest = { subject, receive };
    if (this.#interests.size >= SUBSCRIPTIONS_MAX) throw new Error("too many subscriptions");
    this.#interests.add(interest);
    if (this.#connection !== undefined) this.#begin(this.#connection, interest);
    return {
      close: () => {
        this.#interests.delete(interest);
        this.#open.get(interest)?.unsubscribe();
        this.#open.delete(interest);
      },
    };
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

  async flush(): Promise<boolean> {
    if (this.#connection === undefined || this.#status === "down") return false;
    try {
      await this.#connection.flush();
      return true;
    } catch {
      return false;
    }
  }

  /** Dials again, for a renewed identity. */
  reconnect(): void {
    this.#connection?.reconnect().catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#turn("down");
    await this.#connection?.close();
    await this.#supervised;
  }

  async #supervise(): Promise<void> {
    const { clock, rng, log, server } = this.#options;
    for (let failures = 0; !this.#closed; failures++) {
      try {
        const connection = await this.#connect();
        if (this.#closed) {
          await connection.close();
          return;
        }
        failures = 0;
        await this.#serve(connection);
      } catch (error) {
        log.debug("bus not reached", { server, error: (error as Error).message });
      }
      if (!this.#closed) await sleep(clock, backoffMs(RECONNECT, failures, rng));
    }
  }

  #connect(): Promise<NatsConnection> {
    const { server, name, tls } = this.#options;
    return connect({
      servers: server,
      name,
      noEcho: true,
      // Names that a server gossips are not the ones behind our NAT.
      ignoreClusterUpdates: true,
      pingInterval: PING_MS,
      maxPingOut: 2,
      timeout: 5_000,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: 250,
      reconnectJitter: 750,
      reconnectJitterTLS: 750,
      ...(tls === undefined ? {} : { tls: freshAtEachDial(tls) }),
    });
  }

  async #serve(connection: NatsConnection): Promise<void> {
    this.#connection = connection;
    for (const interest of this.#interests) this.#begin(connection, interest);
    this.#turn("up");
    void this.#follow(connection);
    await connection.closed();
    this.#connection = undefined;
    this.#open.clear();
    this.#turn("down");
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const event of connection.status()) {
      if (event.type === "disconnect") this.#turn("down");
      else if (event.type === "reconnect") this.#turn("up");
      else if (event.type === "error" && event.error instanceof PermissionViolationError) {
        const { operation, subject } = event.error;
        const kind = operation === "publish" ? "publish_denied" : "subscribe_denied";
        for (const listen of this.#onRefusal) listen({ kind, subject });
      }
    }
  }

  #begin(connection: NatsConnection, interest: Interest): void {
    const { subject, receive } = interest;
    const subscription = connection.subscribe(subject, {
      callback: (error, message) => {
        // A refused subscription; `#follow` reports it.
        if (error !== null) return;
        receive({ subject: message.subject, data: message.data });
      },
    });
    this.#open.set(interest, subscription);
  }

  #turn(status: BusStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    for (const listen of this.#onStatus) listen(status);
  }
}

/** The library reads the members of its `tls` option at each dial; so does this for the source's. */
function freshAtEachDial(source: () => object): object {
  const fresh = { handshakeFirst: true };
  for (const name of Object.keys(source())) {
    const get = (): unknown => (source() as Record<string, unknown>)[name];
    Object.defineProperty(fresh, name, { enumerable: true, get });
  }
  return fresh;
}
