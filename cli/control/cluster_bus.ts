import type { RotatingIdentity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls } from "#certs/workload/tls.ts";
import { busPermissions } from "#control/authority/table.ts";
import type { HostPort } from "#control/config/scalars.ts";
import type { Store } from "#control/store/store.ts";
import { NatsBus } from "#discovery/bus/nats.ts";
import type { BusUser } from "#discovery/bus/nats_config.ts";
import { NatsServer } from "#discovery/bus/nats_server.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { ok, type Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";
import { type ClusterName, coreOf, type MeshName, parentOf } from "#model/names.ts";

export interface ClusterBusOptions {
  readonly mesh: MeshName;
  readonly cluster: ClusterName;
  readonly identity: RotatingIdentity;
  /** Its children are the bus's users. */
  readonly store: Store;
  readonly binary: string;
  readonly dir: string;
  readonly listen: HostPort;
  /** `host:port` of the parent's bus; undefined in the core. */
  readonly parent: string | undefined;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
}

/** A cluster's nats-server, and its control service's connections to that and to the parent's. */
export class ClusterBus {
  readonly own: NatsBus;
  readonly parent: NatsBus | undefined;
  readonly #options: ClusterBusOptions;
  readonly #server: NatsServer;

  private constructor(options: ClusterBusOptions, server: NatsServer) {
    this.#options = options;
    this.#server = server;
    const { cluster, mesh, listen, parent, identity } = options;
    const isAny = listen.address === "0.0.0.0" || listen.address === "::";
    const host = isAny ? "127.0.0.1" : listen.address;
    this.own = connect(`${host}:${server.port}`, cluster, options);
    this.parent =
      parent === undefined ? undefined : connect(parent, parentOf(cluster, mesh)!, options);
    identity.onRotate(() => {
      void this.update();
      this.own.reconnect();
      this.parent?.reconnect();
    });
  }

  static async open(options: ClusterBusOptions): Promise<Result<ClusterBus, string>> {
    const { binary, dir, listen, identity, clock, rng, log } = options;
    const server = await NatsServer.start(
      { binary, dir, ...listen, clock, rng, log },
      identity.current(),
      usersOf(options),
    );
    return server.ok ? ok(new ClusterBus(options, server.value)) : server;
  }

  get port(): number {
    return this.#server.port;
  }

  /** Lets in the children that are registered now. What fails is said and changes nothing. */
  async update(): Promise<void> {
    const { identity, log } = this.#options;
    try {
      await this.#server.update(identity.current(), usersOf(this.#options));
    } catch (error) {
      log.error("bus not updated", { error: (error as Error).message });
    }
  }

  async close(): Promise<void> {
    await this.own.close();
    await this.parent?.close();
    await this.#server.close();
  }
}

/** The control service itself and every registered child. */
function usersOf({ cluster, mesh, store }: ClusterBusOptions): BusUser[] {
  const below = cluster === coreOf(mesh) ? mesh : cluster;
  return [
    { id: controlId(cluster), permissions: busPermissions("self", "") },
    ...store.children().map(({ label }) => ({
      id: controlId(`${label}.${below}` as ClusterName),
      permissions: busPermissions("child", label),
    })),
  ];
}

/** @param owner the cluster whose control service must have given the server its certificate. */
function connect(server: string, owner: ClusterName, options: ClusterBusOptions): NatsBus {
  const { identity, clock, rng, log, cluster } = options;
  const tls = (): object => {
    const current = identity.current();
    return clientTls(current, new PeerVerifier(current.rootsPem, clock), controlId(owner));
  };
  return new NatsBus({ server, name: cluster, clock, rng, log, tls });
}
