import type { TLSSocket, TlsOptions } from "node:tls";
import type { Peer } from "#proxy/exchange/peer.ts";

/** A client whose handshake is done. */
export interface Admitted {
  readonly peer: Peer;
  /** Hosts that it may ask for, as its server name decided: a name, a wildcard; undefined: all. */
  readonly servedHosts: string | undefined;
}

/** TLS of a port, and who the peers are that come by it. */
export interface ServerTls {
  readonly options: TlsOptions;
  /**
   * Undefined: the connection is closed before a byte of it is read.
   * @param anonymous the peer as its address alone tells it.
   */
  readonly admit: (socket: TLSSocket, anonymous: () => Peer) => Admitted | undefined;
  /** An OCSP answer to be stapled. @param leaf DER. */
  readonly ocspOf?: (leaf: Buffer) => Buffer | undefined;
}
