import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Priority } from "#model/traffic_policy.ts";
import { type Hop, writeHop } from "#proxy/authorize/hop.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { DataNeed } from "#proxy/balance/pick_constraint.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";

/** What a request tells the next hop. */
export interface MeshHead {
  readonly self: ClusterName;
  readonly service: ServiceName;
  readonly within: ClusterName | undefined;
  readonly hop: Hop;
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
