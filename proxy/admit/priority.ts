import type { Priority, TrafficPolicy } from "#model/traffic_policy.ts";
import { PRIORITIES } from "#model/traffic_policy.ts";
import type { Hop } from "#proxy/authorize/hop.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

/**
 * The class of a request: what the first hop found; at the first hop what the client says in the header that
 * the policy names, if it is one of the three words, or what the policy says of all.
 */
export function priorityOf(
  rules: TrafficPolicy["priority"],
  hop: Pick<Hop, "priority">,
  fields: Fields,
): Priority {
  if (hop.priority !== undefined) return hop.priority;
  if (rules === undefined) return "default";
  if (rules.header !== undefined) {
    const word = fieldValue(fields, rules.header);
    const said = PRIORITIES.find((one) => one === word);
    if (said !== undefined) return said;
  }
  return rules.class ?? "default";
}
