/**
 * What the endpoints of a service speak, within TLS if they have that. `tcp`: connections, not requests; what a client
 * says first may be nothing. `kubernetes.io/h2c`: HTTP/2 and nothing else.
 */
export const APP_PROTOCOLS = ["http", "tcp", "kubernetes.io/h2c"] as const;

/** What is offered to an endpoint that speaks TLS (ALPN, RFC 7301). */
export const ALPN_PROTOCOLS = ["h2", "http/1.1"] as const;

/** One of them. */
export type AlpnProtocol = (typeof ALPN_PROTOCOLS)[number];

/** What a word of a Service means. */
interface Spoken {
  readonly appProtocol: (typeof APP_PROTOCOLS)[number];
  /** Without TLS it is not spoken. */
  readonly overTls: boolean;
  /** What can be agreed on if it is spoken over TLS. */
  readonly alpn: readonly AlpnProtocol[];
}

const HTTP: Spoken = { appProtocol: "http", overTls: false, alpn: ALPN_PROTOCOLS };
const HTTP2: Spoken = { appProtocol: "kubernetes.io/h2c", overTls: false, alpn: ["h2"] };
/** A WebSocket begins as HTTP/1.1; in HTTP/2 not every server can. */
const WEB_SOCKET: Spoken = { ...HTTP, alpn: ["http/1.1"] };

/** Kubernetes' words (KEP-3726) where it has some. */
const WORDS = {
  http: HTTP,
  https: { ...HTTP, overTls: true },
  grpc: HTTP2,
  "kubernetes.io/h2c": HTTP2,
  "kubernetes.io/ws": WEB_SOCKET,
  "kubernetes.io/wss": { ...WEB_SOCKET, overTls: true },
  tcp: { appProtocol: "tcp", overTls: false, alpn: [] },
} as const satisfies Readonly<Record<string, Spoken>>;

type AppProtocolWord = keyof typeof WORDS;

/** Everything that the `appProtocol` of a Service can say. */
export const APP_PROTOCOL_WORDS = Object.keys(WORDS) as AppProtocolWord[];

/** What is meant by it. */
export function spokenBy(word: AppProtocolWord): Spoken {
  return WORDS[word];
}
