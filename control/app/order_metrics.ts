import type { ControlService } from "#control/app/control_service.ts";
import { isDrained } from "#control/catalog/drains.ts";
import { Grants } from "#control/catalog/grants.ts";
import { upward } from "#control/catalog/views.ts";
import type { Metrics } from "#kernel/metrics.ts";
import type { Order } from "#model/order.ts";
import { limitIdentity } from "#model/traffic_policy.ts";

interface Sample {
  readonly labels: readonly string[];
  readonly value: number;
}

/** What is ordered, offered, granted and leased, of one control service or of a tree's. */
export function registerOrders(metrics: Metrics, controls: () => readonly ControlService[]): void {
  const gauge = (
    name: string,
    help: string,
    labels: readonly string[],
    of: (control: ControlService) => Iterable<Sample>,
  ): void =>
    metrics.gauge({ name, help, labels: ["cluster", ...labels] }, () =>
      controls().flatMap((control) =>
        Array.from(of(control), ({ labels: own, value }) => {
          return { labels: [control.cluster as string, ...own], value };
        }),
      ),
    );
  gauge(
    "espalier_orders",
    "Orders in force, by kind; from: own or above.",
    ["kind", "from"],
    ordersOf,
  );
  gauge("espalier_drained", "1 if operators have taken the cluster out.", [], (control) => {
    const { orders } = control.catalog;
    return [{ labels: [], value: Number(isDrained(orders, control.cluster)) }];
  });
  gauge("espalier_children_drained", "Children that operators have taken out.", [], (control) => {
    const { children, orders } = control.catalog;
    const drained = children.filter(({ cluster }) => isDrained(orders, cluster));
    return [{ labels: [], value: drained.length }];
  });
  gauge(
    "espalier_offer_requests",
    "Concurrent requests that others may send to this cluster and all below it.",
    ["service"],
    offersOf,
  );
  gauge(
    "espalier_grant_requests",
    "Concurrent requests that this cluster may send to its parent, siblings or children, in sum.",
    ["service", "to"],
    grantsOf,
  );
  gauge(
    "espalier_lease_rate",
    "Requests per second that this cluster's own clients may make of a limit that `from` has written.",
    ["service", "limit", "from"],
    leasesOf,
  );
}

function* ordersOf({ catalog, cluster }: ControlService): Iterable<Sample> {
  const key = ({ kind, from }: Order): string => `${kind} ${from === cluster ? "own" : "above"}`;
  for (const [name, { length }] of Map.groupBy(catalog.orders, key)) {
    yield { labels: name.split(" "), value: length };
  }
}

function* offersOf({ catalog }: ControlService): Iterable<Sample> {
  for (const [service, { offer }] of upward(catalog)) {
    if (offer !== undefined) yield { labels: [service], value: offer };
  }
}

/** Places without a known limit are not in the sum. */
function* grantsOf({ catalog }: ControlService): Iterable<Sample> {
  const sums = new Map<string, number>();
  const add = (service: string, to: string, grant: number | undefined): void => {
    const key = `${service} ${to}`;
    if (grant !== undefined) sums.set(key, (sums.get(key) ?? 0) + grant);
  };
  for (const { service, kind, grant } of catalog.view) add(service, kind, grant);
  const grants = Grants.of(catalog);
  for (const { cluster, facts } of catalog.children) {
    for (const service of facts.keys()) add(service, "child", grants.toChild(cluster, service));
  }
  for (const [key, value] of sums) yield { labels: key.split(" "), value };
}

function* leasesOf({ catalog }: ControlService): Iterable<Sample> {
  for (const order of catalog.orders) {
    if (order.kind !== "lease") continue;
    const { service, limit: name, by, from, rate } = order;
    yield { labels: [service, limitIdentity({ name, by }), from], value: rate };
  }
}
