import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";
import type { Priority } from "#model/traffic_policy.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";

/** What a pick may not do. */
export interface PickConstraint {
  /** Clusters that the request has passed: it never goes back to one. */
  readonly visited: readonly ClusterName[];
  /** Clusters that failed it, or refused it, before it came here: taken only if nobody else can. */
  readonly avoid?: readonly ClusterName[] | undefined;
  /** Endpoints that failed it: taken again only if there is nothing else. */
  readonly tried: readonly EndpointState[];
  /** The subtree that must serve it; undefined: any. */
  readonly within: ClusterName | undefined;
  /** It came from another cluster: only services that are exported serve it here. */
  readonly foreign: boolean;
  /** Endpoint that its session names: taken if it is well and no try has failed. */
  readonly session?: string | undefined;
  /** Pins and splits have had their chance: it goes to whoever is left. */
  readonly unbound?: boolean;
  /** Who goes first where not all can be served; undefined: `default`. */
  readonly priority?: Priority | undefined;
  /** Of what its policy hashes on, 32 bits; undefined: nothing, it may go anywhere. */
  readonly hash?: number | undefined;
  /** Of a service with replicas: where it may be served. Undefined: it has none. */
  readonly data?: DataNeed | undefined;
}

/** What a request asks of the place where a service's data is. */
export interface DataNeed {
  /** It changes data: the primary alone may take it. */
  readonly write: boolean;
  /** Clients that wrote must see what they wrote: how old a replica's data may be at most, ms. */
  readonly maxStalenessMs: Millis;
}
