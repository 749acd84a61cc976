import { createServer } from "node:net";
import { err, ok, type Result } from "#kernel/result.ts";

/**
 * How a port is opened. `alone`: nobody else may have it, now or later. `claim`: processes of ours may come to it
 * later, but nobody may have it now. `join`: processes of ours have it.
 */
export type PortSharing = "alone" | "claim" | "join";

/**
 * Fails if anybody listens there. With SO_REUSEPORT, a second proxy of the same user would get the port as
 * well and silently take a share of the clients; a socket without it is told the truth.
 */
export function provePortFree(host: string, port: number): Promise<Result<void, Error>> {
  if (port === 0) return Promise.resolve(ok(undefined));
  const probe = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    probe.once("error", (error) => resolve(err(error)));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(ok(undefined))));
  });
}
