import type { OwnService } from "#control/catalog/catalog.ts";
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

/** Epochs that another may be ahead of what is written here: who takes so many at once leaves some to come back by. */
const EPOCHS_AHEAD_MAX = 100_000_000;

/**
 * What is believed of another cluster's word where a Service here says where the data is: that the primary is another
 * one of the replicas written here, in some epoch that is not far away. It adds no replica, and allows no older data.
 * So nobody takes the writes of a service by calling himself its primary. Undefined: nothing of it.
 */
export function believed(
  own: Replication | undefined,
  said: Replication | undefined,
): Replication | undefined {
  if (own === undefined || said === undefined) return said;
  const { primary, epoch } = said;
  if (!own.replicas.includes(primary) || epoch > own.epoch + EPOCHS_AHEAD_MAX) return undefined;
  const replicas = said.replicas.filter((cluster) => own.replicas.includes(cluster));
  const maxStalenessMs = Math.min(said.maxStalenessMs, own.maxStalenessMs);
  const isWhole =
    replicas.length === said.replicas.length && maxStalenessMs === said.maxStalenessMs;
  return isWhole ? said : { ...said, replicas, maxStalenessMs };
}

/** What the cluster's own Services say, by name. */
export function writtenHere(own: readonly OwnService[]): ReadonlyMap<string, Replication> {
  const words = new Map<string, Replication>();
  for (const { name, replication } of own) {
    if (replication !== undefined && !words.has(name)) words.set(name, replication);
  }
  return words;
}

function textOf({ primary, replicas, maxStalenessMs }: Replication): string {
  return JSON.stringify([primary, replicas, maxStalenessMs]);
}
