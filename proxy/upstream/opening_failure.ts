import { type Failure, failure, isOwnLimit } from "#proxy/exchange/failure.ts";

/**
 * Why a connection to an endpoint has not come about.
 * @param code of the socket's error. @param isTls its handshake was still to come, and may be what has failed.
 */
export function openingFailure(code: string, isTls: boolean): Failure {
  if (isOwnLimit(code)) return failure("overloaded", code);
  return failure(isTls && !isConnectError(code) ? "tls_failed" : "connect_refused", code);
}

/** What is said of a socket's error: its code, or what OpenSSL says where that is all that the code means. */
export function errorDetail({ code, message }: NodeJS.ErrnoException): string {
  const said = code === "EPROTO" ? /:SSL routines:[^:]*:([^:]+)/.exec(message)?.[1] : undefined;
  return said ?? code ?? message;
}

/**
 * How a connection fails whose server does not let us in, although our side of the handshake was over: TLS 1.3 judges a
 * client last (RFC 8446 §4.4.2.4), and has read no request then. Only for one that has heard nothing else yet.
 * @param code of the socket's error. Undefined: it was something else.
 */
export function lateRefusal(code: string): Failure | undefined {
  return HANDSHAKE_ALERT.test(code) ? failure("tls_failed", code) : undefined;
}

/** The alerts of RFC 8446 §6.2 that say so, as OpenSSL names them. */
const HANDSHAKE_ALERT = /^ERR_SSL_.*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)/;

function isConnectError(code: string): boolean {
  return /^E(CONN|HOST|NET|TIMEDOUT|ADDR|NOTFOUND|AI_|PIPE|MFILE)/.test(code);
}
