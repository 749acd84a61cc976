import { FAILED_FIELD, type GatewaySaid, LEFT_FIELD, REFUSED_FIELD } from "#proxy/authorize/hop.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { type FailureName, isFailureName } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";

/**
 * Tells the proxy before us what is left of the request's retries, and what the gateway behind us has answered by
 * itself. Returns that; undefined: the answer is an endpoint's.
 * @param left undefined: none was spent.
 */
export function tellOn(
  fields: Fields,
  { kind: to }: Peer,
  said: GatewaySaid | undefined,
  left: number | undefined,
): FailureName | undefined {
  if (left !== undefined && to !== "anonymous") fields.push(LEFT_FIELD, String(left));
  const kind = said?.refused ?? said?.failed;
  if (kind === undefined || !isFailureName(kind)) return undefined;
  const isTouched = said!.refused === undefined;
  if (to === "gateway") fields.push(isTouched ? FAILED_FIELD : REFUSED_FIELD, kind);
  return kind;
}
