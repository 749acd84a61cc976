import type { Store } from "#control/store/store.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import {
  type ClusterName,
  coreOf,
  isWithin,
  type MeshName,
  parentOf,
  parseClusterName,
  parseServiceName,
  type ServiceName,
} from "#model/names.ts";
import { type Order, orderKey } from "#model/order.ts";

/** Why an operator is not obeyed; a status of HTTP. */
export interface OrderRefused {
  readonly status: 400 | 404 | 409;
  readonly reason: string;
}

/** What operators can say. */
export type Wish =
  | { readonly verb: "drain" | "undrain"; readonly cluster: string }
  | { readonly verb: "pin"; readonly service: string; readonly cluster: string }
  | { readonly verb: "unpin"; readonly service: string };

/** What a cluster must know to judge a wish. */
export interface WishContext {
  /** Whether this label is a child's. */
  readonly isChild: (label: string) => boolean;
  readonly isKnown: (service: ServiceName) => boolean;
  /** What holds now, the orders from above among it. */
  readonly inForce: readonly Order[];
}

/** Drains and pins by the operators of one cluster: judged, and kept on disk. */
export class OperatorOrders {
  readonly #mesh: MeshName;
  readonly #cluster: ClusterName;
  readonly #store: Store;
  #orders: readonly Order[];

  constructor(mesh: MeshName, cluster: ClusterName, store: Store) {
    this.#mesh = mesh;
    this.#cluster = cluster;
    this.#store = store;
    this.#orders = store.ownOrders();
  }

  /** What operators have ordered here. */
  all(): readonly Order[] {
    return this.#orders;
  }

  /** Does what is wished. What it returns says whether anything is another way than before. */
  obey(wish: Wish, context: WishContext): Result<{ readonly changed: boolean }, OrderRefused> {
    switch (wish.verb) {
      case "drain":
        return this.#drain(wish.cluster, context);
      case "undrain":
        return this.#undrain(wish.cluster, context);
      case "pin":
        return this.#pin(wish.service, wish.cluster, context);
      case "unpin":
        return this.#unpin(wish.service, context);
    }
  }

  #drain(name: string, context: WishContext): Result<{ changed: boolean }, OrderRefused> {
    const target = this.#below(name, context);
    return target.ok ? this.#add({ kind: "drain", from: this.#cluster, cluster: name }) : target;
  }

  #undrain(name: string, context: WishContext): Result<{ changed: boolean }, OrderRefused> {
    const target = this.#below(name, context);
    if (!target.ok) return target;
    const key = orderKey({ kind: "drain", from: this.#cluster, cluster: name });
    const removed = this.#remove(key);
    // Saying that all is well while another order still holds would mislead.
    const other = context.inForce.find(
      (order) => order.kind === "drain" && orderKey(order) !== key && isWithin(name, order.cluster),
    );
    if (other?.kind !== "drain") return ok({ changed: removed });
    const what = other.cluster === name ? "it" : other.cluster;
    return refused(
      409,
      `${name} stays drained: ${other.from} has drained ${what}; undrain that there`,
    );
  }

  #pin(
    text: string,
    name: string,
    context: WishContext,
  ): Result<{ changed: boolean }, OrderRefused> {
    const service = knownService(text, context);
    if (!service.ok) return service;
    const cluster = this.#inMesh(name);
    if (!cluster.ok) return cluster;
    const from = this.#cluster;
    return this.#add({ kind: "pin", from, service: service.value, cluster: name });
  }

  #unpin(text: string, { inForce }: WishContext): Result<{ changed: boolean }, OrderRefused> {
    const service = parseServiceName(text);
    if (!service.ok) return refused(400, service.error);
    const key = orderKey({ kind: "pin", from: this.#cluster, service: service.value, cluster: "" });
    const removed = this.#remove(key);
    const other = inForce.find(
      (order) =>
        order.kind === "pin" && order.service === service.value && order.from !== this.#cluster,
    );
    if (other === undefined) return ok({ changed: removed });
    return refused(
      409,
      `${service.value} stays pinned: ${other.from} has pinned it; unpin it there`,
    );
  }

  /** This cluster or one below it. Of what is further down only its own parent knows whether it is there. */
  #below(name: string, { isChild }: WishContext): Result<ClusterName, OrderRefused> {
    const self = this.#cluster;
    const parsed = this.#inMesh(name);
    if (!parsed.ok || parsed.value === self) return parsed;
    const child = childOn(parsed.value, self, this.#mesh);
    if (child === undefined) {
      return refused(409, `${name} is not below ${self}: ask it, or a cluster above it`);
    }
    const label = child.slice(0, child.indexOf("."));
    return isChild(label) ? parsed : refused(404, `${self} has no child ${child}`);
  }

  #inMesh(name: string): Result<ClusterName, OrderRefused> {
    const parsed = parseClusterName(name);
    if (!parsed.ok) return refused(400, parsed.error);
    const isBelow = parentOf(parsed.value, this.#mesh) !== undefined;
    const isOurs = isBelow || parsed.value === coreOf(this.#mesh);
    return isOurs ? parsed : refused(400, `${name} is no cluster of ${this.#mesh}`);
  }

  #add(order: Order): Result<{ changed: boolean }, OrderRefused> {
    const key = orderKey(order);
    const before = this.#orders.find((one) => orderKey(one) === key);
    if (JSON.stringify(before) === JSON.stringify(order)) return ok({ changed: false });
    this.#store.addOwnOrder(order);
    this.#orders = this.#store.ownOrders();
    return ok({ changed: true });
  }

  #remove(key: string): boolean {
    const removed = this.#store.removeOwnOrder(key);
    this.#orders = this.#store.ownOrders();
    return removed;
  }
}

function knownService(text: string, { isKnown }: WishContext): Result<ServiceName, OrderRefused> {
  const service = parseServiceName(text);
  if (!service.ok) return refused(400, service.error);
  return isKnown(service.value)
    ? service
    : refused(404, `no service ${service.value} is known here`);
}

/** The child of `self` on the way to `cluster`, or that itself; undefined if it is not below. */
function childOn(cluster: ClusterName, self: ClusterName, mesh: MeshName): string | undefined {
  for (let at: ClusterName | undefined = cluster; at !== undefined; at = parentOf(at, mesh)) {
    if (parentOf(at, mesh) === self) return at;
  }
  return undefined;
}

function refused(status: OrderRefused["status"], reason: string): Result<never, OrderRefused> {
  return err({ status, reason });
}
