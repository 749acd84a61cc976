import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Priority } from "#model/traffic_policy.ts";
import { HOPS_MAX, type Hop, writeHop } from "#proxy/authorize/hop.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { DataNeed } from "#proxy/balance/pick_constraint.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";

/** What a request tells the next hop. */
export interface MeshHead {
  readonly self: ClusterName;
  readonly service: ServiceName;
  readonly within: ClusterName | undefined;
  readonly hop: Hop;
  /** Clusters that have failed it, or refused it. */
  readonly avoid: readonly ClusterName[];
  readonly priority: Priority;
  /** What remains of its time, ms; undefined: not limited. */
  readonly leftMs: number | undefined;
  readonly retries: number;
  readonly data?: DataNeed | undefined;
  /** Of its service, if it has replicas. */
  readonly epoch?: number | undefined;
  /** The client's seat from there on, "" for a new one. */
  readonly session?: string | undefined;
  readonly debug?: boolean;
}

const NO_CLUSTERS: readonly ClusterName[] = [];

/**
 * What the next cluster had better not ask for a request: whom those before us have found wanting, and whom we have
 * tried. The last `HOPS_MAX` of them.
 */
export function toAvoid(
  before: readonly ClusterName[],
  tried: readonly EndpointState[],
  to: EndpointState,
): readonly ClusterName[] {
  if (tried.length === 0) return before;
  const all = new Set(before);
  for (const { locale } of tried) if (locale.kind !== "local") all.add(locale.cluster);
  // Of several gateways of a cluster another one may be well.
  all.delete(to.locale.cluster);
  return [...all].slice(-HOPS_MAX);
}

/**
 * The head as `endpoint` shall see it, with the fields of a hop if it is in the mesh. A new list then:
 * another try may go where they do not belong.
 */
export function headFor(endpoint: EndpointState, head: RequestHead, about: MeshHead): RequestHead {
  const { method, target, authority, body, upgrade, takesTrailers, neverIndexed } = head;
  const fields = head.fields.slice();
  const {
    self,
    service,
    within,
    hop,
    avoid,
    priority,
    leftMs,
    retries,
    data,
    epoch,
    session,
    debug = false,
  } = about;
  // A sidecar beside us is not another cluster: the path ends here.
  const leaves = endpoint.locale.kind !== "local";
  writeHop(fields, {
    service,
    within,
    path: leaves ? [...hop.path, self] : hop.path,
    avoid: leaves ? avoid : NO_CLUSTERS,
    // At least 1: what is over here must not become "no deadline" there.
    deadlineMs: leftMs === undefined ? undefined : Math.max(1, Math.round(leftMs)),
    retries,
    priority,
    caller: hop.caller,
    data: data?.write === true ? "write" : data && Math.floor(data.maxStalenessMs),
    epoch: data?.write === true ? epoch : undefined,
    session: leaves ? session : undefined,
    debug: leaves && debug,
  });
  return { method, target, authority, fields, body, upgrade, takesTrailers, neverIndexed };
}
