import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { TimerWheel } from "#kernel/timer_wheel.ts";
import type { ClientRules } from "#model/snapshot.ts";
import type { Handler } from "#proxy/exchange/exchange.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { type ClientInfo, ClientSet, type ListenerTraffic } from "#proxy/listen/client_set.ts";
import { Entrance } from "#proxy/listen/entrance.ts";
import { fileOf } from "#proxy/listen/file_limit.ts";
import { ListenerCounters } from "#proxy/listen/listener_counters.ts";
import { type PortSharing, provePortFree } from "#proxy/listen/port_claim.ts";
import type { PortGroup } from "#proxy/listen/port_groups.ts";
import { type PortRules, portRules } from "#proxy/listen/port_rules.ts";
import { Protocols } from "#proxy/listen/protocols.ts";
import { closeWhenQuiet } from "#proxy/listen/quiet_close.ts";
import type { ServerTls } from "#proxy/listen/server_tls.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";

const BACKLOG = 1_024;
/**
 * Listening sockets of a port in each process. libuv accepts one connection per socket and turn of the event
 * loop: with a single one a busy proxy let clients wait for seconds.
 */
const ACCEPTORS = 16;

export interface ListenOptions {
  readonly group: PortGroup;
  readonly handler: Handler;
  /** Name of this proxy in `Proxy-Status`: its cluster. */
  readonly self: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly sharing: PortSharing;
  /** Of HTTPS and MESH. */
  readonly tls?: ServerTls;
  readonly accessLog?: AccessLog | undefined;
  /** Highest file descriptor of a client; absent: any. */
  readonly filesMax?: number;
  /** For tests: in place of what the rules of the listener say. */
  readonly limits?: ConnectionLimits;
}

/** A port that is open. */
export interface OpenPort {
  readonly address: string;
  readonly port: number;
  readonly counters: ListenerCounters;
  /** Added up when it is asked. */
  traffic(): ListenerTraffic;
  /** Connections that may be open at a time. */
  connectionsMax(): number;
  /** The connections that are open now. */
  clients(): Iterable<ClientInfo>;
  /** New connections are treated by these rules from now on. */
  useRules(rules: ClientRules | undefined): void;
  /** New handshakes use this from now on; open connections are not touched. */
  useTls(tls: ServerTls): void;
  /** Accepts no more, lets running requests end for at most `maxMs`, then closes. */
  drain(maxMs: Millis): Promise<void>;
  /** The same; the port is free for somebody else when this returns. Who waits in its queue is reset. */
  closeAndDrain(maxMs: Millis): Promise<void>;
}

/** The same port; `done` is called when it begins to drain. */
export function whenDrained(port: OpenPort, done: () => void): OpenPort {
  return {
    ...port,
    drain: (maxMs) => {
      done();
      return port.drain(maxMs);
    },
    closeAndDrain: (maxMs) => {
      done();
      return port.closeAndDrain(maxMs);
    },
  };
}

/** Opens a port. The error says which address and why. */
export async function openPort(options: ListenOptions): Promise<Result<OpenPort, string>> {
  const { address } = options.group;
  const first = await openAt(options, address);
  // `::` is every address of a machine that knows IPv6, and none of one that does not.
  if (first.ok || address !== "::" || !/EAFNOSUPPORT|EADDRNOTAVAIL/.test(first.error)) return first;
  return openAt(options, "0.0.0.0");
}

async function openAt(options: ListenOptions, host: string): Promise<Result<OpenPort, string>> {
  const { group, sharing } = options;
  const why = (error: Error) => err(`${host}:${group.port}: ${error.message}`);
  if (sharing === "claim") {
    const free = await provePortFree(host, group.port);
    if (!free.ok) return why(free.error);
  }
  const port = new Port(options);
  let bound: AddressInfo | undefined;
  for (const server of port.servers) {
    const place = { host, port: bound?.port ?? group.port, reusePort: sharing !== "alone" };
    const listening = await listen(server, place);
    if (!listening.ok) {
      port.close();
      return why(listening.error);
    }
    bound ??= listening.value;
    // An accept that failed: descriptors are gone, those for endpoints included.
    server.on("error", () => {
      port.counters.noFiles++;
    });
  }
  return ok({
    address: bound!.address,
    port: bound!.port,
    counters: port.counters,
    traffic: () => port.clients.traffic(),
    connectionsMax: () => port.connectionsMax,
    clients: () => port.clients.infos(),
    useRules: (rules) => port.useRules(rules),
    useTls: (tls) => port.useTls(tls),
    drain: (maxMs) => port.drain(maxMs),
    closeAndDrain: (maxMs) => port.closeAndDrain(maxMs),
  });
}

function listen(
  server: Server,
  place: { readonly host: string; readonly port: number; readonly reusePort: boolean },
): Promise<Result<AddressInfo, Error>> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve(err(error));
    server.once("error", fail);
    server.listen({ ...place, backlog: BACKLOG }, () => {
      server.off("error", fail);
      resolve(ok(server.address() as AddressInfo));
    });
  });
}

/** The listening sockets of a port, and the bounds within which they let anybody in. */
class Port {
  readonly servers: readonly Server[];
  readonly counters = new ListenerCounters();
  readonly clients: ClientSet;
  readonly #options: ListenOptions;
  readonly #protocols: Protocols;
  readonly #entrance: Entrance;
  #rules: PortRules;
  /** Sockets that were accepted, whatever became of them. */
  #come = 0;

  constructor(options: ListenOptions) {
    const { group, tls, limits, accessLog, sharing } = options;
    const { handler, self, clock, wheel } = options;
    const { counters } = this;
    const clients = new ClientSet(counters, tls !== undefined);
    const rules = portRules(group.listeners[0]?.rules, limits);
    const kind = group.protocol;
    const place = { listener: group.name, kind, secure: tls !== undefined, accessLog };
    const parts = { handler, self, clock, wheel, clients, counters };
    const protocols = new Protocols({ ...place, ...parts }, rules);
    this.#options = options;
    this.clients = clients;
    this.#rules = rules;
    this.#protocols = protocols;
    this.#entrance = new Entrance({ kind, tls, wheel, clients, counters, protocols }, rules);
    // Half-open: a client may end its side after the request and still read the answer.
    const accept = (socket: Socket): void => this.#accept(socket);
    this.servers = Array.from({ length: sharing === "alone" ? 1 : ACCEPTORS }, () =>
      createServer({ allowHalfOpen: true, noDelay: true }, accept),
    );
  }

  get connectionsMax(): number {
    return this.#rules.connectionsMax;
  }

  useRules(rules: ClientRules | undefined): void {
    this.#rules = portRules(rules, this.#options.limits);
    this.#protocols.useRules(this.#rules);
    this.#entrance.useRules(this.#rules);
  }

  useTls(tls: ServerTls): void {
    this.#entrance.useTls(tls);
  }

  drain(maxMs: Millis): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      const come = (): number => this.#come;
      closeWhenQuiet(clock, come, () => resolve(this.closeAndDrain(maxMs)));
    });
  }

  closeAndDrain(maxMs: Millis): Promise<void> {
    this.close();
    return this.clients.drain(this.#options.clock, maxMs);
  }

  /** Nobody is accepted any more. */
  close(): void {
    for (const server of this.servers) server.close();
  }

  #accept(socket: Socket): void {
    this.#come++;
    const { filesMax = Number.POSITIVE_INFINITY } = this.#options;
    if (fileOf(socket) > filesMax) {
      this.counters.noFiles++;
      socket.destroy();
      return;
    }
    // Not by the server's own bound: it does not see when a recycled socket ends.
    if (this.clients.size >= this.#rules.connectionsMax) {
      this.counters.full++;
      socket.destroy();
      return;
    }
    this.#entrance.enter(socket);
  }
}
