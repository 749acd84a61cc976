/**
 * What the endpoints of a service speak, in Kubernetes' words (KEP-3726) where it has some. `tcp`: connections, not
 * requests; what a client says first may be nothing. `kubernetes.io/h2c`: HTTP/2 from the first byte, without TLS.
 */
export const APP_PROTOCOLS = ["http", "tcp", "kubernetes.io/h2c"] as const;

type AppProtocol = (typeof APP_PROTOCOLS)[number];

/** The one that is meant: gRPC is HTTP/2, and a WebSocket begins as HTTP/1.1. */
export function appProtocolOf(name: AppProtocol | "grpc" | "kubernetes.io/ws"): AppProtocol {
  if (name === "grpc") return "kubernetes.io/h2c";
  return name === "kubernetes.io/ws" ? "http" : name;
}
