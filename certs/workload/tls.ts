import { constants } from "node:crypto";
import type { ConnectionOptions, TlsOptions } from "node:tls";
import type { Identity } from "#certs/identity/identity.ts";
import { type SpiffeId, trustDomainOf } from "#certs/identity/spiffe_id.ts";
import type { PeerVerifier } from "#certs/workload/peer_verifier.ts";

/*
 * TLS between parts of the mesh: 1.3, both sides with certificates, never resumed. A resumed session
 * skips every check of certificates (reference: identity, §4.2).
 */

const COMMON = {
  minVersion: "TLSv1.3",
  rejectUnauthorized: true,
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/** For a port that accepts mesh peers; who they are is for a `PeerVerifier` to say. */
export function serverTls(identity: Identity): TlsOptions {
  return { ...COMMON, ...material(identity), requestCert: true };
}

/** One that has no certificate yet and knows only the mesh's roots. */
export interface Stranger {
  readonly rootsPem: string;
}

/** For a connection to exactly `expected`: anybody else gets not one byte of ours. */
export function clientTls(
  identity: Identity | Stranger,
  verifier: PeerVerifier,
  expected: SpiffeId,
): ConnectionOptions {
  return {
    ...COMMON,
    ...material(identity),
    servername: trustDomainOf(expected),
    checkServerIdentity: (_host, certificate) => {
      const peer = verifier.peerWith(certificate);
      if (!peer.ok) return new Error(peer.error);
      if (peer.value.id === expected) return undefined;
      return new Error(`peer is ${peer.value.id}, not ${expected}`);
    },
  };
}

function material(identity: Identity | Stranger) {
  const ca = identity.rootsPem;
  return "keyPem" in identity ? { cert: identity.chainPem, key: identity.keyPem, ca } : { ca };
}
