import { join } from "node:path";

/* What lies where in the state directory of a control service or a proxy. */

/** A cluster's certificate authority. */
export function caDir(state: string): string {
  return join(state, "ca");
}

/** The database of a control service. */
export function storePath(state: string): string {
  return join(state, "control.db");
}

/** The nats-server's configuration and certificates. */
export function busDir(state: string): string {
  return join(state, "bus");
}

/** Where a cluster that has joined finds its parent. */
export function parentPath(state: string): string {
  return join(state, "parent.json");
}

/** A proxy's identity and its control service's address. */
export function membershipPath(state: string): string {
  return join(state, "membership.json");
}

/** A proxy's last good snapshot. */
export function snapshotPath(state: string): string {
  return join(state, "snapshot.json");
}
