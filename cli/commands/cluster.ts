import type { Command } from "commander";
import { askAdmin } from "#cli/admin_request.ts";
import { usage } from "#cli/exit.ts";
import { adminOption } from "#cli/options.ts";
import { jsonLine, tableText } from "#cli/output.ts";
import type { ObeyedAnswer, OrdersAnswer } from "#control/app/order_routes.ts";
import type { HostPort } from "#control/config/scalars.ts";
import type { Result } from "#kernel/result.ts";
import { parseClusterName, parseServiceName } from "#model/names.ts";
import type { Order } from "#model/order.ts";
import { limitIdentity } from "#model/traffic_policy.ts";

interface ClusterOptions {
  readonly admin: HostPort;
  readonly from?: string;
  readonly json?: boolean;
}

/** What is said when it is so, and when it was so already. */
interface Said {
  readonly done: string;
  readonly already: string;
}

export function registerCluster(program: Command): void {
  const cluster = program
    .command("cluster")
    .description("Takes clusters out of service and back, and says where a service is served.");
  const command = (spec: string, description: string): Command =>
    cluster
      .command(spec)
      .description(description)
      .addOption(adminOption("admin port of a control service, or of a tree"))
      .option("--from <cluster>", "which cluster of a tree is asked (default: its core)")
      .option("--json", "as JSON");
  command("drain <cluster>", "No new requests go to the cluster and all below it.").action(
    (name: string, options: ClusterOptions) =>
      order(options, "drain", { cluster: clusterOf(name) }, drained(name)),
  );
  command("undrain <cluster>", "They go there again.").action(
    (name: string, options: ClusterOptions) =>
      order(options, "undrain", { cluster: clusterOf(name) }, undrained(name)),
  );
  command("pin <service> <cluster>", "The service is served by that cluster while it can.").action(
    (service: string, name: string, options: ClusterOptions) => {
      const wish = { service: serviceOf(service), cluster: clusterOf(name) };
      const done = `${wish.service} is pinned to ${name}`;
      return order(options, "pin", wish, { done, already: `${done} already` });
    },
  );
  command("unpin <service>", "It is served by the best place again.").action(
    (text: string, options: ClusterOptions) => {
      const service = serviceOf(text);
      const already = `${service} is not pinned`;
      return order(options, "unpin", { service }, { done: `${service} is unpinned`, already });
    },
  );
  command(
    "forget-epoch <service>",
    "What is said now of where its data is holds, though that cluster has heard a higher epoch once.",
  ).action((text: string, options: ClusterOptions) => {
    const service = serviceOf(text);
    const done = `the highest epoch of ${service} is what is said now`;
    return order(options, "forget-epoch", { service }, { done, already: `${done} already` });
  });
  command("list", "A cluster's children, and what is ordered there.").action(list);
}

function drained(name: string): Said {
  return { done: `${name} is drained`, already: `${name} is drained already` };
}

function undrained(name: string): Said {
  return { done: `${name} takes requests again`, already: `${name} is not drained` };
}

async function order(
  { admin, from, json }: ClusterOptions,
  verb: string,
  wish: Readonly<Record<string, string>>,
  said: Said,
): Promise<void> {
  const query = new URLSearchParams({ ...wish, ...(from === undefined ? {} : { from }) });
  const answer = await askAdmin<ObeyedAnswer>(admin, "POST", `/${verb}?${query}`);
  const { cluster, changed, unserved } = answer;
  for (const service of unserved) {
    process.stderr.write(`warning: nobody else serves ${service}: its requests get 503\n`);
  }
  if (json === true) jsonLine(answer);
  else process.stdout.write(`${changed ? said.done : said.already}, says ${cluster}\n`);
}

async function list({ admin, from, json }: ClusterOptions): Promise<void> {
  const query = new URLSearchParams(from === undefined ? {} : { from });
  const answer = await askAdmin<OrdersAnswer>(admin, "GET", `/orders?${query}`);
  if (json === true) jsonLine(answer);
  else process.stdout.write(`${listText(answer)}\n`);
}

/** What a person reads. */
function listText({
  cluster,
  drained: out,
  parentLink,
  children,
  own,
  heard,
}: OrdersAnswer): string {
  const parent = parentLink === null ? "no parent" : `parent's word ${parentLink}`;
  const rows = [
    ["CLUSTER", "HEARD", "SERVICES", "DRAINED"],
    [cluster, parent, "-", yesNo(out)],
  ];
  for (const child of children) {
    rows.push([child.cluster, child.freshness, String(child.services), yesNo(child.drained)]);
  }
  const orders = [["ORDER", "BY", "WHAT"]];
  for (const one of [...own, ...heard]) orders.push([one.kind, one.from, whatOf(one)]);
  return orders.length === 1 ? tableText(rows) : `${tableText(rows)}\n\n${tableText(orders)}`;
}

function whatOf(one: Order): string {
  if (one.kind === "drain") return one.cluster;
  if (one.kind === "pin") return `${one.service} to ${one.cluster}`;
  if (one.kind === "lease")
    return `${limitIdentity({ name: one.limit, by: one.by })} of ${one.service}: ${one.rate}/s here`;
  return `${one.name} for ${one.service ?? "all services"}`;
}

function yesNo(is: boolean): string {
  return is ? "yes" : "no";
}

function clusterOf(text: string): string {
  return orUsage(parseClusterName(text));
}

function serviceOf(text: string): string {
  return orUsage(parseServiceName(text));
}

function orUsage(parsed: Result<string, string>): string {
  if (!parsed.ok) throw usage(parsed.error);
  return parsed.value;
}
