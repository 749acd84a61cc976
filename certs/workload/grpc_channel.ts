import { createSecureContext } from "node:tls";
import { ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";
import type { Identity } from "#certs/identity/identity.ts";
import { type SpiffeId, trustDomainOf } from "#certs/identity/spiffe_id.ts";
import type { PeerVerifier } from "#certs/workload/peer_verifier.ts";
import { clientTls, type Stranger } from "#certs/workload/tls.ts";

/** How a gRPC client reaches exactly `expected`, proving `identity`. */
export function meshChannel(
  identity: Identity | Stranger,
  verifier: PeerVerifier,
  expected: SpiffeId,
): { readonly credentials: ChannelCredentials; readonly options: ChannelOptions } {
  const { checkServerIdentity, ...context } = clientTls(identity, verifier, expected);
  const name = trustDomainOf(expected);
  return {
    credentials: ChannelCredentials.createFromSecureContext(createSecureContext(context), {
      checkServerIdentity: checkServerIdentity!,
    }),
    options: {
      "grpc.ssl_target_name_override": name,
      "grpc.default_authority": name,
      // Notices a black hole within 15 s.
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      // The caller reconnects, with a fresh identity.
      "grpc.enable_retries": 0,
      // A channel of its own: one with another identity must not be shared.
      "grpc.use_local_subchannel_pool": 1,
    },
  };
}
