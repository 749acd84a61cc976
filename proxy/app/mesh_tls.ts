import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { IdentitySource } from "#certs/identity/identity.ts";
import { parseSpiffeId, roleOf } from "#certs/identity/spiffe_id.ts";
import { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls, serverTls } from "#certs/workload/tls.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { type OpenPort, whenDrained } from "#proxy/listen/port.ts";
import type { ServerTls } from "#proxy/listen/server_tls.ts";

/** The proxy's side of mTLS: proves its own identity, and says which peers may come in. */
export class MeshTls {
  readonly #source: IdentitySource;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #rotation: { close(): void };
  readonly #listeners = new Set<OpenPort>();
  #verifier: PeerVerifier;
  #rootsPem: string;

  constructor(source: IdentitySource, clock: Clock, log: Logger) {
    this.#source = source;
    this.#clock = clock;
    this.#log = log;
    this.#rootsPem = source.current().rootsPem;
    this.#verifier = new PeerVerifier(this.#rootsPem, clock);
    this.#rotation = source.onRotate(() => this.#rotate());
  }

  /** Undefined if the endpoint's identity is none. */
  towards(endpoint: Endpoint): ConnectionOptions | undefined {
    const expected = parseSpiffeId(endpoint.identity ?? "");
    if (!expected.ok) return undefined;
    return clientTls(this.#source.current(), this.#verifier, expected.value);
  }

  forServer(): ServerTls {
    return {
      options: { ...serverTls(this.#source.current()), ALPNProtocols: ["h2", "http/1.1"] },
      admit: (socket) => {
        const peer = this.#peerOf(socket);
        return peer === undefined ? undefined : { peer, servedHosts: undefined };
      },
    };
  }

  /** Gives `listener` each new identity until it is drained. */
  keepCurrent(listener: OpenPort): OpenPort {
    this.#listeners.add(listener);
    return whenDrained(listener, () => this.#listeners.delete(listener));
  }

  close(): void {
    this.#rotation.close();
  }

  /**
   * To a gateway may come the gateways of the whole mesh and this cluster's own proxies; to a workload's
   * proxy only this cluster's own: other clusters have to pass its gateway.
   */
  #peerOf(socket: TLSSocket): Peer | undefined {
    const peer = this.#verifier.peerOf(socket);
    const address = socket.remoteAddress ?? "";
    if (!peer.ok) {
      this.#log.warn("peer refused", { address, error: peer.error });
      return undefined;
    }
    const { id, cluster } = peer.value;
    const kind = roleOf(id);
    const own = this.#source.current();
    const takesGateways = roleOf(own.id) === "gateway";
    const mayCome = cluster === own.cluster || (takesGateways && kind === "gateway");
    if (kind === undefined || !mayCome) {
      this.#log.warn("peer refused", { address, error: `${id} may not come here` });
      return undefined;
    }
    return { kind, address, id, cluster };
  }

  #rotate(): void {
    const identity = this.#source.current();
    if (identity.rootsPem !== this.#rootsPem) {
      this.#rootsPem = identity.rootsPem;
      this.#verifier = new PeerVerifier(this.#rootsPem, this.#clock);
    }
    for (const listener of this.#listeners) listener.useTls(this.forServer());
  }
}
