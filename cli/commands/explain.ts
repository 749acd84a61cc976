import { type Command, Option } from "commander";
import { askAdmin } from "#cli/admin_request.ts";
import { usage } from "#cli/exit.ts";
import { adminOption, collected, durationOption } from "#cli/options.ts";
import { jsonLine, tableText } from "#cli/output.ts";
import type { HostPort } from "#control/config/scalars.ts";
import { PRIORITIES } from "#model/traffic_policy.ts";
import type { Explanation, ServiceExplanation } from "#proxy/app/explain.ts";
import type { LocaleExplanation } from "#proxy/balance/explain_locales.ts";

interface ExplainOptions {
  readonly from?: string;
  readonly admin: HostPort;
  readonly method: string;
  readonly header?: readonly string[];
  readonly grpc?: boolean;
  readonly priority?: string;
  readonly written?: number;
  readonly policy?: boolean;
  readonly json?: boolean;
}

const EXAMPLE = "http://menu.shop.svc.acme.mesh/";
/** What makes a request a call of gRPC. */
const CALL = "content-type: application/grpc";

export function registerExplain(program: Command): void {
  program
    .command("explain")
    .description("Says where a request would go, and why not elsewhere.")
    .argument("<url>", "http://menu.shop.svc.acme.mesh/ or any URL that a route matches")
    .option("--from <cluster>", "the cluster whose gateway is asked, where one port serves several")
    .option("--method <name>", "of the request", "GET")
    .option("--header <name:value>", "of the request; may be given several times", collected)
    .option("--grpc", "a call: the URL's path is /package.Service/Method")
    .addOption(new Option("--priority <class>", "of the request").choices(PRIORITIES))
    .option(
      "--written <age>",
      "how long ago its client has written, such as 800ms or 5s",
      durationOption,
    )
    .addOption(adminOption("admin port of a running proxy or tree"))
    .option("--policy", "also what TrafficPolicies come to, and the cluster of each field")
    .option("--json", "as JSON")
    .action((url: string, options: ExplainOptions) => run(url, options));
}

async function run(url: string, options: ExplainOptions): Promise<void> {
  if (!isWeb(url)) {
    const better = isWeb(`http://${url}`) && !url.includes("//") ? `http://${url}` : EXAMPLE;
    throw usage(`"${url}" is not a URL with http:// or https://, such as ${better}`);
  }
  const explanation = await ask(url, options);
  if (options.json === true) jsonLine(explanation);
  else process.stdout.write(`${explanationText(explanation, options.policy === true)}\n`);
}

function ask(url: string, options: ExplainOptions): Promise<Explanation> {
  const { from, admin, grpc = false, header = [], priority, written } = options;
  const query = new URLSearchParams({ url, method: grpc ? "POST" : options.method });
  if (from !== undefined) query.set("from", from);
  if (priority !== undefined) query.set("priority", priority);
  if (written !== undefined) query.set("written", String(written));
  for (const line of grpc ? [CALL, ...header] : header) query.append("header", line);
  return askAdmin(admin, "GET", `/explain?${query}`);
}

/** What a person reads. */
function explanationText(explanation: Explanation, withPolicy: boolean): string {
  const { url, cluster, route, problem, services } = explanation;
  const lines = [`${url} at ${cluster}: ${route ?? "no route"}`];
  if (problem !== undefined) lines.push(`  ${problem}`);
  for (const one of services) {
    const { service, share, locales } = one;
    lines.push(`  ${service} (${percent(share)} of the route)${askedText(one)}`);
    lines.push(...policyLines(one, withPolicy));
    const rows = [
      [
        "",
        "LOCALE",
        "CLUSTER",
        "WEIGHT",
        "COST",
        "RTT",
        "CAPACITY",
        "GRANT",
        "BEARS",
        "INFLIGHT",
        "ENDPOINTS",
        "WHY",
      ],
    ];
    for (const l of locales) {
      rows.push([
        "   ",
        l.kind,
        l.cluster,
        percent(l.weight),
        `${l.costMs.toFixed(1)} ms`,
        l.rttMs === null ? "-" : `${l.rttMs.toFixed(1)} ms`,
        countText(l.capacity),
        countText(l.grant),
        countText(l.bears),
        String(l.inflight),
        endpointsText(l),
        l.freshness === "fresh" ? l.reason : `${l.reason} (${l.freshness})`,
      ]);
    }
    lines.push(tableText(rows));
  }
  return lines.join("\n");
}

/** What does not hold is always said: somebody counts on it. */
function policyLines({ policy, policyOrigins }: ServiceExplanation, withPolicy: boolean): string[] {
  return [
    ...(withPolicy ? [`    policy ${JSON.stringify(policy)}`] : []),
    ...policyOrigins.flatMap(({ cluster, policy: name, fields, refused }) => [
      ...(withPolicy && fields.length > 0 ? [`    ${cluster} ${name}: ${fields.join(", ")}`] : []),
      ...refused.map((text) => `    not followed, of ${cluster} ${name}: ${text}`),
    ]),
  ];
}

/** What of the request, or of its service, keeps it from places. */
function askedText({ data, fence, priority }: ServiceExplanation): string {
  const said = [
    ...(data === null ? [] : [dataText(data)]),
    ...(fence === null ? [] : [`must stay in ${fence}`]),
    ...(priority === "default" ? [] : [priority]),
  ];
  return said.length === 0 ? "" : `: ${said.join("; ")}`;
}

function dataText({ write, maxStalenessMs, primary }: NonNullable<ServiceExplanation["data"]>) {
  if (write) return `a write, for the primary ${primary}`;
  return `a read of data at most ${maxStalenessMs / 1_000} s old, or of the primary ${primary}`;
}

function isWeb(url: string): boolean {
  return URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}

function endpointsText(about: LocaleExplanation): string {
  const { endpoints, ejected, unhealthy, busy, panics } = about;
  const out = [
    ...(busy > 0 ? [`${busy} busy`] : []),
    ...(panics ? ["panic"] : []),
    ...(ejected > 0 ? [`${ejected} ejected`] : []),
    ...(unhealthy > 0 ? [`${unhealthy} unhealthy (check)`] : []),
  ];
  return out.length === 0 ? String(endpoints) : `${endpoints} (${out.join(", ")})`;
}

/** What has no limit has no number; a part of a small one is told as such. */
function countText(count: number | null): string {
  return count === null ? "-" : count.toFixed(count < 10 && !Number.isInteger(count) ? 1 : 0);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}
