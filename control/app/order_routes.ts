import type { ControlService } from "#control/app/control_service.ts";
import type { Wish } from "#control/app/operator_orders.ts";
import type { Catalog } from "#control/catalog/catalog.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { type AdminAnswer, type AdminRoute, jsonAnswer, textAnswer } from "#kernel/admin_http.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import { type ClusterName, isWithin, parseServiceName } from "#model/names.ts";
import { type Order, orderKey } from "#model/order.ts";

/** What `POST` of an order answers. */
export interface ObeyedAnswer {
  /** Who was asked. */
  readonly cluster: ClusterName;
  /** False: it was so before. */
  readonly changed: boolean;
  /** Services that nobody else serves, as far as the asked cluster knows. */
  readonly unserved: readonly string[];
}

/** What `GET /orders` answers. */
export interface OrdersAnswer {
  readonly cluster: ClusterName;
  readonly drained: boolean;
  /** State of the lease of what the parent says; null in the core. */
  readonly parentLink: string | null;
  readonly children: ReadonlyArray<{
    readonly cluster: string;
    readonly freshness: string;
    readonly services: number;
    readonly drained: boolean;
  }>;
  /** Ordered here, by operators and policies. */
  readonly own: readonly Order[];
  /** Ordered by clusters above, and this cluster's own parts of rate limits. */
  readonly heard: readonly Order[];
}

/**
 * What operators order, and what is ordered, at the control service that `of` finds for a query.
 */
export function orderRoutes(
  of: (query: URLSearchParams) => Result<ControlService, AdminAnswer>,
): Array<readonly [string, AdminRoute]> {
  const post = (verb: Wish["verb"], names: readonly string[]): readonly [string, AdminRoute] => [
    `POST /${verb}`,
    (query) => {
      const control = of(query);
      if (!control.ok) return control.error;
      const named = namedIn(query, names);
      return named.ok ? obey(control.value, { verb, ...named.value } as Wish) : named.error;
    },
  ];
  return [
    post("drain", ["cluster"]),
    post("undrain", ["cluster"]),
    post("pin", ["service", "cluster"]),
    post("unpin", ["service"]),
    [
      "POST /forget-epoch",
      (query) => {
        const control = of(query);
        if (!control.ok) return control.error;
        const named = namedIn(query, ["service"]);
        return named.ok ? forget(control.value, named.value["service"]!) : named.error;
      },
    ],
    [
      "/orders",
      (query) => {
        const control = of(query);
        return control.ok ? jsonAnswer(200, ordersOf(control.value)) : control.error;
      },
    ],
  ];
}

function namedIn(
  query: URLSearchParams,
  names: readonly string[],
): Result<Record<string, string>, AdminAnswer> {
  const missing = names.filter((name) => !query.get(name));
  if (missing.length > 0) {
    return err(textAnswer(400, `say which: ?${missing.map((name) => `${name}=…`).join("&")}`));
  }
  return ok(Object.fromEntries(names.map((name) => [name, query.get(name)!])));
}

function obey(control: ControlService, wish: Wish): AdminAnswer {
  const unserved = wish.verb === "drain" ? onlyServedBy(control.catalog, wish.cluster) : [];
  const obeyed = control.obey(wish);
  if (!obeyed.ok) return textAnswer(obeyed.error.status, obeyed.error.reason);
  const answer: ObeyedAnswer = { cluster: control.cluster, ...obeyed.value, unserved };
  return jsonAnswer(200, answer);
}

function forget(control: ControlService, text: string): AdminAnswer {
  const service = parseServiceName(text);
  if (!service.ok) return textAnswer(400, service.error);
  const changed = control.forgetEpoch(service.value);
  const answer: ObeyedAnswer = { cluster: control.cluster, changed, unserved: [] };
  return jsonAnswer(200, answer);
}

/** Services of `target` that nobody else known here serves. Of what is below a child, only that child knows. */
function onlyServedBy(catalog: Catalog, target: string): string[] {
  const { own, children, view, orders, cluster } = catalog;
  const [mine, others] = [new Set<string>(), new Set<string>()];
  const add = (place: string, service: string): void => {
    if (isWithin(place, target)) mine.add(service);
    else if (!isDrained(orders, place)) others.add(service);
  };
  for (const { name } of own) add(cluster, name);
  for (const child of children) {
    for (const [service, { healthy }] of child.facts) if (healthy > 0) add(child.cluster, service);
  }
  for (const { service, summary } of view) {
    if (summary.healthy > 0 && summary.drained !== true) others.add(service);
  }
  return [...mine].filter((service) => !others.has(service)).sort();
}

function ordersOf(control: ControlService): OrdersAnswer {
  const { catalog, cluster } = control;
  const known = new Map(catalog.children.map((child) => [child.cluster as string, child]));
  const children = control.childNames().map((name) => {
    const child = known.get(name);
    return {
      cluster: name,
      freshness: child?.freshness ?? "expired",
      services: [...(child?.facts.values() ?? [])].filter(({ total }) => total > 0).length,
      drained: isDrained(catalog.orders, name),
    };
  });
  const isOwn = ({ from, kind }: Order): boolean => from === cluster && kind !== "lease";
  return {
    cluster,
    drained: isDrained(catalog.orders, cluster),
    parentLink: control.parentLease ?? null,
    children,
    own: catalog.orders.filter(isOwn).sort(byKey),
    heard: catalog.orders.filter((order) => !isOwn(order)).sort(byKey),
  };
}

function byKey(a: Order, b: Order): number {
  return orderKey(a) < orderKey(b) ? -1 : 1;
}
