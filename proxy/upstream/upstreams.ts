import type { Millis } from "#kernel/brand.ts";
import type { ConnectionRules, Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";

/** An endpoint and what its service says of connections to it. */
export interface EndpointRules {
  readonly endpoint: Endpoint;
  readonly rules: ConnectionRules | undefined;
  /** It speaks HTTP/2; absent: HTTP/1.1. */
  readonly http2?: boolean;
}

/** Connections to endpoints: the only door by which requests leave the proxy. */
export interface Upstreams {
  /**
   * Sends `head` to `endpoint` over an idle connection or a new one, or once there may be one. Returns
   * at once; whatever goes wrong arrives at `sink.onFailure`, never before this call has returned.
   * @param atOnce waits for no connection: for questions of the proxy's own, which are few.
   */
  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce?: boolean): UpstreamStream;
  /**
   * Closes idle connections to endpoints that are not in `keep`, where running requests end in peace;
   * to the others, their rules apply from now on.
   */
  retain(keep: Iterable<EndpointRules>): void;
  close(): void;
}

/** What is asked of the ways to other clusters, beside requests. */
export interface Links {
  /**
   * Asks for a sign of life on each connection to `endpoint`, opening one where there is none. A connection that has
   * been silent to several of them while another one answered is closed, and what runs on it fails with `link_down`.
   * @param done told of the first answer, once and not before this call has returned: its round trip, without what
   *   opening took; undefined: there can be none. Silence is for the caller to notice.
   */
  ping(endpoint: Endpoint, done: (rttMs: Millis | undefined) => void): void;
  /** Fails every running request to the endpoint with `link_down` and closes its connections. */
  sever(endpoint: Endpoint): void;
}

/** What an endpoint that takes connections as they are is told of the client (PROXY protocol). */
export interface Introduction {
  readonly version: "v1" | "v2";
  /** Undefined: nobody knows. */
  readonly source: { readonly address: string; readonly port: number } | undefined;
}

/** Connections to endpoints of `tcp` services. */
export interface RawUpstreams {
  /** A new connection each; it answers with 101 once it is there. Failures as with `Upstreams.open`. */
  open(
    endpoint: Endpoint,
    introduction: Introduction | undefined,
    sink: AnswerSink,
  ): UpstreamStream;
}

/** One endpoint's place: address, port and who of the mesh must be there. What is known of it is kept by this. */
export function endpointKey(endpoint: Endpoint): string {
  return `${endpoint.identity ?? ""}@${endpoint.address}:${endpoint.port}`;
}
