import { isIP, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { AlpnProtocol } from "#model/app_protocol.ts";
import type { Endpoint } from "#model/snapshot.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ReadInto } from "#proxy/socket/held_buffers.ts";
import { AnswerFirstSocket } from "#proxy/upstream/answer_first_socket.ts";
import { endpointTls, verifiedName } from "#proxy/upstream/endpoint_tls.ts";

/** How to prove who we are to an endpoint that has an identity; undefined: we cannot. */
export type TlsTowards = (endpoint: Endpoint) => ConnectionOptions | undefined;

/** The way to an endpoint. */
export interface Dialling {
  /** Starts to connect. @param onread what the socket is to read into. */
  readonly dial: (onread: ReadInto) => Socket;
  /** Event of the socket after which requests may flow. */
  readonly readyEvent: "connect" | "secureConnect";
}

/**
 * Plain, with mTLS if the endpoint has an identity, or with TLS as its service says.
 * @param protocols offered in TLS, the preferred one first (RFC 7301).
 */
export function diallingOf(
  endpoint: Endpoint,
  tls: TlsTowards,
  protocols: readonly AlpnProtocol[],
): Dialling | Failure {
  const { address: host, port, identity } = endpoint;
  const target = { host, port, noDelay: true, allowHalfOpen: true };
  if (identity === undefined && endpoint.tls === undefined) {
    const dial = (onread: ReadInto) => new AnswerFirstSocket({ ...target, onread }).connect(target);
    return { dial, readyEvent: "connect" };
  }
  const name = endpoint.tls && verifiedName(endpoint, endpoint.tls);
  // A configuration with that is refused before it comes here; Node would throw.
  if (name !== undefined && isIP(name) !== 0) return failure("tls_failed", "no name to verify");
  const secure = identity === undefined ? endpointTls(endpoint, endpoint.tls!) : tls(endpoint);
  if (secure === undefined) return failure("tls_failed", "no identity of our own");
  // `onread` is missing from the types of `tls.connect`, which passes it on all the same.
  const dial = (onread: ReadInto) =>
    connectTls({
      ...secure,
      ...target,
      ALPNProtocols: [...protocols],
      ...{ onread },
    } as ConnectionOptions);
  return { dial, readyEvent: "secureConnect" };
}
