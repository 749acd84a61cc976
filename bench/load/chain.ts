import type { ChildProcess } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Ground, Hop, Peer, Protocol, Side } from "#bench/load/hop.ts";
import { listening } from "#bench/load/programs.ts";
import type { Origin, Way } from "#bench/load/workloads.ts";
import { freePort } from "#test/kit/ports.ts";

/** Ports of the origins. */
export type Origins = Readonly<Record<Origin, number>>;

/** The processes of a peer for one way. */
export interface Chain {
  /** The client's first. */
  readonly pids: readonly number[];
  /** Where the client goes. */
  readonly port: number;
}

const SPOKEN: Readonly<Record<Origin, Protocol>> = {
  http1: "http1",
  http2: "http2",
  http2Large: "http2",
  grpc: "grpc",
};

/** What stands at each side of each hop. @param portOf 0: the first one's. */
function hopsOf(
  way: Way,
  { between }: Peer,
  origin: number,
  portOf: (index: number) => number,
): Pick<Hop, "listen" | "next">[] {
  // A peer that speaks gRPC to origins but not HTTP/2 at large does so between gateways as well.
  const inner = way.client === "grpc" ? "grpc" : between;
  const sides: Side[] = [{ port: portOf(0), protocol: way.client, security: way.security }];
  for (let i = 1; i < way.gateways; i++) {
    sides.push({ port: portOf(i), protocol: inner, security: "mutual" });
  }
  sides.push({ port: origin, protocol: SPOKEN[way.origin], security: "clear" });
  return sides.slice(1).map((next, i) => ({ listen: sides[i]!, next }));
}

/** Why a peer cannot be asked that way; undefined: it can. */
export function refusal(peer: Peer, way: Way): string | undefined {
  for (const hop of hopsOf(way, peer, 0, () => 0)) {
    const why = peer.refuses(hop);
    if (why !== undefined) return why;
  }
  return undefined;
}

/** Starts a peer's proxies for a way, the last first. @param children gets them, to be ended. */
export async function startChain(
  peer: Peer,
  way: Way,
  { ground, origins, dir }: { ground: Ground; origins: Origins; dir: string },
  children: ChildProcess[],
): Promise<Chain> {
  const ports: number[] = [];
  for (let i = 0; i < way.gateways; i++) ports.push(await freePort());
  const hops = hopsOf(way, peer, origins[way.origin], (index) => ports[index]!);
  const pids: number[] = [];
  for (let index = hops.length - 1; index >= 0; index--) {
    const own = mkdtempSync(join(dir, `${peer.name.replace(/\W/g, "-")}-`));
    const child = await peer.start(ground, { ...hops[index]!, index, dir: own });
    children.push(child);
    await listening(ports[index]!);
    pids.unshift(child.pid!);
  }
  return { pids, port: ports[0]! };
}
