import type { Millis } from "#kernel/brand.ts";
import type { ClusterName } from "#model/names.ts";
import type { Replication } from "#model/traffic_policy.ts";
import type { Hop } from "#proxy/authorize/hop.ts";
import type { DataNeed } from "#proxy/balance/pick_constraint.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue, removeFields } from "#proxy/exchange/fields.ts";
import { agedSinceWrite } from "#proxy/filter/written.ts";

/** RFC 9110 §9.2.1. */
const SAFE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
/** By which a route says that a request whose method says otherwise only reads: value `read`. */
const DATA_FIELD = "espalier-data";
/** Tells the primary's endpoints in which epoch a write was sent to them: a fencing token. */
const EPOCH_FIELD = "espalier-primary-epoch";
// With underscores too: many endpoints take both for the same name.
const OURS: ReadonlySet<string> = new Set(
  [DATA_FIELD, EPOCH_FIELD].flatMap((name) => [
    name,
    name.replaceAll("-", "_"),
    name.replace("-", "_"),
    name.replace(/-([^-]*)$/, "_$1"),
  ]),
);

/** Nobody but we and our routes may say these. */
export function removeDataFields(fields: Fields): void {
  removeFields(fields, OURS);
}

/** Whether a route has said of a request that it only reads. */
export function saysRead(fields: Fields): boolean {
  return fieldValue(fields, DATA_FIELD) === "read";
}

/** What a request to a service with replicas needs; marks its head for the endpoint, if it writes. */
export function dataNeedOf(
  { maxStalenessMs, epoch }: Replication,
  head: RequestHead,
  about: {
    readonly hop: Hop;
    /** Its route says so. */
    readonly reads: boolean;
    readonly raw: boolean;
    readonly wall: Millis;
  },
): DataNeed {
  const { hop, reads, raw, wall } = about;
  const { fields } = head;
  const write = hop.data === undefined ? raw || (!reads && writes(head)) : hop.data === "write";
  removeDataFields(fields);
  if (write) {
    fields.push(EPOCH_FIELD, String(epoch));
    return { write, maxStalenessMs: 0 };
  }
  const since = typeof hop.data === "number" ? hop.data : agedSinceWrite(fields, wall);
  return { write, maxStalenessMs: Math.min(maxStalenessMs, since) };
}

/** What asks for another protocol may do anything there. Calls of gRPC are all POST. */
function writes({ method, upgrade }: RequestHead): boolean {
  return upgrade !== undefined || !SAFE.has(method);
}

/**
 * Why a write that another gateway sends is refused: one of us two knows an older primary. Undefined: it is not. Where
 * we are the primary as we know it, and the other one knows a newer epoch, it has chosen us by that.
 */
export function epochProblem(
  { epoch, primary }: Replication,
  said: number | undefined,
  self: ClusterName,
): string | undefined {
  if (said === undefined || said === epoch) return undefined;
  if (said < epoch) return `epoch ${said} is over, it is ${epoch}`;
  return primary === self ? undefined : `epoch ${said} has begun, we know ${epoch}`;
}
