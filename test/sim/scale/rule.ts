import type { Millis } from "#kernel/brand.ts";
import type { Outcome } from "#proxy/balance/endpoint_state.ts";

/** What one request may not do at this gateway. */
export interface Ask<H> {
  /** Numbers of the clusters that it has passed. */
  readonly visited: readonly number[];
  /** What has failed it here. */
  readonly tried: readonly H[];
}

/**
 * How the gateway of one cluster chooses: the thing that is compared. `H` is what a rule knows of a
 * place where requests go: one of its cluster's endpoints, or the gateway of another cluster.
 */
export interface Rule<H> {
  /** Undefined: nobody may or can take it. */
  pick(ask: Ask<H>, now: Millis): H | undefined;
  /** Number of that place, see `placeId`. */
  idOf(handle: H): number;
  started(handle: H, now: Millis): void;
  /** @param latencyMs to the answer, or to the failure. */
  finished(handle: H, outcome: Outcome, latencyMs: Millis, now: Millis): void;
}

const PER_CLUSTER = 64;
const GATEWAY = PER_CLUSTER - 1;

/** Number of an endpoint of a cluster. */
export function endpointId(cluster: number, endpoint: number): number {
  return cluster * PER_CLUSTER + endpoint;
}

/** Number of a cluster's gateway. */
export function gatewayNumber(cluster: number): number {
  return cluster * PER_CLUSTER + GATEWAY;
}

export function clusterOf(id: number): number {
  return Math.floor(id / PER_CLUSTER);
}

/** Undefined: it is the gateway. */
export function endpointOf(id: number): number | undefined {
  const endpoint = id % PER_CLUSTER;
  return endpoint === GATEWAY ? undefined : endpoint;
}
