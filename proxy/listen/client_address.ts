import type { Socket } from "node:net";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import type { AddressBlocks } from "#proxy/listen/address_blocks.ts";
import type { Source } from "#proxy/listen/proxy_protocol.ts";

/** Who is at the other end of the connections of a port, as far as addresses tell. */
export class ClientAddresses {
  /** Who is behind a load balancer, by the balancer's own address and port. */
  readonly #sources = new Map<string, Source>();

  /** The balancer at the other end of `socket` has said who is behind it. */
  note(socket: Socket, source: Source): void {
    const key = keyOf(socket);
    this.#sources.set(key, source);
    socket.once("close", () => this.#sources.delete(key));
  }

  /** @param socket the one that was noted, or one over it. */
  peerOf(socket: Socket, trusted: AddressBlocks): Peer {
    const { remoteAddress = "", remotePort = 0 } = socket;
    const source = this.#sources.size === 0 ? undefined : this.#sources.get(keyOf(socket));
    if (source === undefined) {
      return anonymous(remoteAddress, remotePort, trusted.has(remoteAddress));
    }
    return anonymous(source.address, source.port, trusted.has(source.address));
  }
}

function keyOf({ remoteAddress = "", remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
