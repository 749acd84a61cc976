import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { PolicyOrigin } from "#model/snapshot.ts";
import type { TrafficPolicy } from "#model/traffic_policy.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { isGrpc } from "#proxy/exchange/grpc.ts";
import type { Tables } from "#proxy/relay/dispatcher.ts";
import { titleOf } from "#proxy/route/rule.ts";

/** Why a request would go where it goes. */
export interface Explanation {
  readonly url: string;
  readonly cluster: string;
  /** Kind and name of the route, or the mesh address that matched; absent if nothing matches. */
  readonly route?: string;
  readonly services: readonly ServiceExplanation[];
  /** Said when no service was reached. */
  readonly problem?: string;
}

/** One service that the request may go to. */
export interface ServiceExplanation {
  readonly service: string;
  /** Share of the route's requests, 0 to 1. */
  readonly share: number;
  /** What TrafficPolicies of this cluster and those above come to; null: none says anything. */
  readonly policy: TrafficPolicy | null;
  /** Which of them says what. */
  readonly policyOrigins: readonly PolicyOrigin[];
  readonly locales: readonly LocaleExplanation[];
}

/** The request that is asked about. Plain data: it goes to workers. */
export interface AskedRequest {
  readonly url: string;
  readonly method: string;
  /** Names in lower case. */
  readonly fields: Fields;
}

/** `?url=…&method=…&header=name:value` of an admin port; the error says what is wrong with it. */
export function askedOf(query: URLSearchParams): Result<AskedRequest, string> {
  const url = query.get("url") ?? "";
  if (!URL.canParse(url)) return err("give ?url=http://host/path");
  const fields: Fields = [];
  for (const line of query.getAll("header")) {
    const colon = line.indexOf(":");
    if (colon <= 0) return err("give header=name:value");
    fields.push(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return ok({ url, method: query.get("method") ?? "GET", fields });
}

/** How a client is told. */
const WORDS = { noRoute: "404", nobody: "503" } as const;
const CALL_WORDS = { noRoute: "UNIMPLEMENTED", nobody: "UNAVAILABLE" } as const;

/** @param listener name of the plain listener that the request is thought to come to. */
export function explain(
  tables: Tables,
  about: { readonly asked: AskedRequest; readonly cluster: string; readonly listener: string },
  now: Millis,
): Explanation {
  const { asked, cluster, listener } = about;
  const url = new URL(asked.url);
  const base = { url: url.href, cluster };
  const head: RequestHead = {
    method: asked.method,
    target: url.pathname + url.search,
    authority: url.host,
    fields: asked.fields.slice(),
    body: 0,
    upgrade: undefined,
    takesTrailers: false,
  };
  const says = isGrpc(head.fields) ? CALL_WORDS : WORDS;
  const match = tables.routes.match(listener, head);
  if (match === undefined)
    return { ...base, services: [], problem: `no route matches (${says.noRoute})` };
  const answer = match.kind === "address" ? undefined : match.filters?.answerFor(head);
  if (answer !== undefined && match.kind === "rule") {
    const to = fieldValue(answer.fields, "location");
    const how = to === undefined ? "a CORS preflight" : `to ${to}`;
    const problem = `answered by the proxy: ${answer.status} ${how}`;
    return { ...base, route: titleOf(match.route), services: [], problem };
  }
  const within = match.kind === "address" ? match.within : undefined;
  const wanted =
    match.kind === "address"
      ? [{ service: match.service, weight: 1 }]
      : match.backends.filter((backend) => backend.weight > 0);
  const total = wanted.reduce((sum, backend) => sum + backend.weight, 0);
  const services: ServiceExplanation[] = [];
  for (const { service, weight } of wanted) {
    const runtime = tables.services.get(service);
    const constraint = { visited: [], tried: [], within, foreign: false };
    const locales = runtime === undefined ? [] : explainLocales(runtime.balancer, constraint, now);
    const { policy = null, policyOrigins = [] } = runtime?.balancer.service ?? {};
    services.push({ service, share: weight / total, policy, policyOrigins, locales });
  }
  const route = match.kind === "address" ? `mesh address ${url.hostname}` : titleOf(match.route);
  const unknown = services.find((s) => s.locales.length === 0);
  if (services.length === 0)
    return { ...base, route, services, problem: `no backend (${says.nobody})` };
  if (unknown === undefined) return { ...base, route, services };
  return { ...base, route, services, problem: `nobody serves ${unknown.service} (${says.nobody})` };
}
