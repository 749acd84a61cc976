import type { ReplicationSpec } from "#control/config/schema_replication.ts";
import type { ClusterName } from "#model/names.ts";
import type { Replication } from "#model/traffic_policy.ts";

/** What a Service says of its data; undefined if it says nothing. */
export function compileReplication(spec: ReplicationSpec | undefined): Replication | undefined {
  if (spec === undefined) return undefined;
  const { primary, epoch, replicas, maxStaleness } = spec;
  return {
    primary: primary as ClusterName,
    epoch,
    replicas: replicas as ClusterName[],
    maxStalenessMs: maxStaleness,
  };
}

/**
 * Of what several clusters say of one service what holds: the highest epoch. Who has an older one learns so that it is
 * no primary any more. Of one epoch that is said in two ways every cluster takes the same.
 */
export function newestReplication(
  said: Iterable<Replication | undefined>,
): Replication | undefined {
  let newest: Replication | undefined;
  for (const one of said) {
    if (one === undefined) continue;
    const isNewer =
      newest === undefined ||
      one.epoch > newest.epoch ||
      (one.epoch === newest.epoch && textOf(one) < textOf(newest));
    if (isNewer) newest = one;
  }
  return newest;
}

function textOf({ primary, replicas, maxStalenessMs }: Replication): string {
  return JSON.stringify([primary, replicas, maxStalenessMs]);
}
