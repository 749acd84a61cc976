import { type Failure, failure, isOwnLimit } from "#proxy/exchange/failure.ts";

/**
 * Why a connection to an endpoint has not come about.
 * @param code of the socket's error. @param isTls its handshake was still to come, and may be what has failed.
 */
export function openingFailure(code: string, isTls: boolean): Failure {
  if (isOwnLimit(code)) return failure("overloaded", code);
  return failure(isTls && !isConnectError(code) ? "tls_failed" : "connect_refused", code);
}

function isConnectError(code: string): boolean {
  return /^E(CONN|HOST|NET|TIMEDOUT|ADDR|NOTFOUND|AI_|PIPE|MFILE)/.test(code);
}
