import { isWithin } from "#model/names.ts";
import type { Order } from "#model/order.ts";

/** Whether an operator has taken the cluster out, by itself or with all that is below one above it. */
export function isDrained(orders: readonly Order[], cluster: string): boolean {
  return orders.some((order) => order.kind === "drain" && isWithin(cluster, order.cluster));
}
