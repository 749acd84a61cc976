import type { PeerCertificate, TLSSocket } from "node:tls";
import { certificatesOf } from "#certs/x509/pem.ts";
import { ChainVerifier, type VerifiedPeer } from "#certs/x509/verify.ts";
import type { Clock } from "#kernel/clock.ts";
import type { Result } from "#kernel/result.ts";

/** Judges the peers of TLS connections against one set of roots. */
export class PeerVerifier {
  readonly #chains: ChainVerifier;
  readonly #clock: Clock;

  constructor(rootsPem: string, clock: Clock) {
    this.#chains = new ChainVerifier(certificatesOf(rootsPem));
    this.#clock = clock;
  }

  /**
   * The peer of a socket that has just been secured. Called once per socket, before anything else asks
   * for its peer: some Node versions show the sent chain to the first reader only.
   */
  peerOf(socket: TLSSocket): Result<VerifiedPeer, string> {
    return this.peerWith(socket.getPeerCertificate(true));
  }

  /** The same from a certificate as Node shows it. Its issuers are only candidates. */
  peerWith(certificate: PeerCertificate): Result<VerifiedPeer, string> {
    return this.#chains.verify(chainOf(certificate), this.#clock.wall());
  }
}

function chainOf(certificate: PeerCertificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const seen = new Set<string>();
  let at: PeerCertificate | undefined = certificate;
  while (at?.raw !== undefined && !seen.has(at.fingerprint256)) {
    seen.add(at.fingerprint256);
    chain.push(at.raw);
    at = "issuerCertificate" in at ? (at.issuerCertificate as PeerCertificate) : undefined;
  }
  return chain;
}
