import { createServer, type Server } from "node:net";
import type { Millis } from "#kernel/brand.ts";
import { type Clock, sleep } from "#kernel/clock.ts";
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

/** Longer than opening a port takes. */
const TURN_MAX_MS: Millis = 2_000;
const PAUSE_MS: Millis = 20;

/**
 * Calls `open`, which proves a port free and then binds it, while no other process of this machine does so with
 * the same port: between the two, another one would find it free as well, and both would get it. Whose turn it is
 * says a name in Linux's abstract namespace: one process can have it, it belongs to the network namespace as ports
 * do, and it goes with its process. Anybody could keep it: who has waited long enough opens the port all the same.
 */
export async function inTurn<T>(port: number, clock: Clock, open: () => Promise<T>): Promise<T> {
  if (port === 0) return open();
  const end = clock.now() + TURN_MAX_MS;
  let turn = await takeTurn(port);
  while (turn === "taken" && clock.now() < end) {
    await sleep(clock, PAUSE_MS);
    turn = await takeTurn(port);
  }
  try {
    return await open();
  } finally {
    if (typeof turn === "object") turn.close();
  }
}

/** `unknown`: not Linux. Nor are ports shared there. */
function takeTurn(port: number): Promise<Server | "taken" | "unknown"> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    server.once("error", ({ code }: NodeJS.ErrnoException) =>
      resolve(code === "EADDRINUSE" ? "taken" : "unknown"),
    );
    server.listen({ path: `\0espalier/opening/${port}` }, () => resolve(server));
  });
}
