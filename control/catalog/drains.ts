import { isWithin } from "#model/names.ts";
import type { Order } from "#model/order.ts";

/** Whether an operator has taken the cluster out, by itself or with all that is below one above it. */
export function isDrained(orders: readonly Order[], cluster: string): boolean {
  return drainedBy(orders).some((drained) => isWithin(cluster, drained));
}

/** It is asked of each child for each child, and there may be ten thousand policies among the orders. */
function drainedBy(orders: readonly Order[]): readonly string[] {
  let drained = known.get(orders);
  if (drained === undefined) {
    drained = orders.flatMap((order) => (order.kind === "drain" ? [order.cluster] : []));
    known.set(orders, drained);
  }
  return drained;
}

const known = new WeakMap<readonly Order[], readonly string[]>();
