import type { ChildProcess } from "node:child_process";
import type { Identity } from "#certs/identity/identity.ts";

/** What is spoken: `grpc` is HTTP/2 that some peers have to be told about. */
export type Protocol = "http1" | "http2" | "grpc";
/** `tls`: the server proves itself; `mutual`: both do. */
export type Security = "clear" | "tls" | "mutual";

/** One side of a proxy. */
export interface Side {
  readonly port: number;
  readonly protocol: Protocol;
  readonly security: Security;
}

/** One proxy process: where it takes requests, and where it passes them on to. */
export interface Hop {
  readonly listen: Side;
  readonly next: Side;
  /** 0 is the client's; in a chain of gateways they count up. */
  readonly index: number;
  /** An empty directory for its files. */
  readonly dir: string;
}

/** PEM files. */
export interface Proof {
  readonly certificate: string;
  readonly key: string;
  readonly roots: string;
}

/** What all hops of one run share. */
export interface Ground {
  /** Of the TLS listeners. */
  readonly certificate: string;
  readonly key: string;
  /** Gateways of a chain, in its order; what the others prove is the same as what ours do. */
  readonly gateways: readonly Gateway[];
  /** CPU of the proxies. */
  readonly cpu: number;
}

/** A place in a chain of gateways. */
export interface Gateway {
  readonly identity: Identity;
  readonly proof: Proof;
}

/** A proxy that can be measured. */
export interface Peer {
  readonly name: string;
  /** Why it cannot run here; undefined: it can. */
  readonly missing: string | undefined;
  /** What it speaks with its like over mTLS. */
  readonly between: Protocol;
  /** Why it cannot be such a hop; undefined: it can. */
  refuses(hop: Pick<Hop, "listen" | "next">): string | undefined;
  start(ground: Ground, hop: Hop): Promise<ChildProcess> | ChildProcess;
}

/** True for everything with HTTP/2 beneath. */
export function isHttp2({ protocol }: Pick<Side, "protocol">): boolean {
  return protocol !== "http1";
}
