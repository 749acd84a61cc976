import type { Millis } from "#kernel/brand.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { ServiceName } from "#model/names.ts";
import type { PolicyOrigin } from "#model/snapshot.ts";
import {
  PRIORITIES,
  type Priority,
  type Replication,
  type TrafficPolicy,
} from "#model/traffic_policy.ts";
import { priorityOf } from "#proxy/admit/priority.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { DataNeed } from "#proxy/balance/pick_constraint.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { isGrpc } from "#proxy/exchange/grpc.ts";
import { applyEdits } from "#proxy/filter/field_edits.ts";
import { WRITTEN } from "#proxy/filter/written.ts";
import { dataNeedOf, removeDataFields, saysRead } from "#proxy/relay/data_need.ts";
import type { Tables } from "#proxy/relay/dispatcher.ts";
import { type CompiledRule, titleOf } from "#proxy/route/rule.ts";

/** Why a request would go where it goes. */
export interface Explanation {
  readonly url: string;
  readonly cluster: string;
  /** Kind, name and rule of the route, or the mesh address that matched; absent if nothing matches. */
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
  /** Of a service with replicas: what the request asks of them, and who takes writes; null: it has none. */
  readonly data: DataExplanation | null;
  /** The subtree that it must not leave; null: it may go anywhere. */
  readonly fence: string | null;
  /** The class of the request. */
  readonly priority: Priority;
  readonly locales: readonly LocaleExplanation[];
}

/** What a request asks of the places where data is. */
interface DataExplanation {
  readonly write: boolean;
  /** How old what a read gets may be, ms. */
  readonly maxStalenessMs: Millis;
  readonly primary: string;
}

/** The request that is asked about. Plain data: it goes to workers. */
export interface AskedRequest {
  readonly url: string;
  readonly method: string;
  /** Names in lower case. */
  readonly fields: Fields;
  /** Undefined: as the service's policy has it. */
  readonly priority?: Priority | undefined;
  /** How long ago its client has written, ms; undefined: it has not. */
  readonly writtenMs?: Millis | undefined;
}

/**
 * `?url=…&method=…&header=name:value&priority=…&written=ms` of an admin port; the error says what is wrong with it.
 */
export function askedOf(query: URLSearchParams): Result<AskedRequest, string> {
  const url = query.get("url") ?? "";
  if (!URL.canParse(url)) return err("give ?url=http://host/path");
  const named = query.get("priority") ?? undefined;
  const priority = PRIORITIES.find((one) => one === named);
  if (priority === undefined && named !== undefined) {
    return err(`give priority=${PRIORITIES.join("|")}`);
  }
  const written = query.get("written");
  if (written !== null && !/^\d{1,12}$/.test(written)) return err("give written=ms");
  const fields: Fields = [];
  for (const line of query.getAll("header")) {
    const colon = line.indexOf(":");
    if (colon <= 0) return err("give header=name:value");
    fields.push(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  const writtenMs = written === null ? undefined : Number(written);
  return ok({ url, method: query.get("method") ?? "GET", fields, priority, writtenMs });
}

/** How a client is told. */
const WORDS = { noRoute: "404", nobody: "503" } as const;
const CALL_WORDS = { noRoute: "UNIMPLEMENTED", nobody: "UNAVAILABLE" } as const;

/** @param listener name of the plain listener that the request is thought to come to. */
export function explain(
  tables: Tables,
  about: {
    readonly asked: AskedRequest;
    readonly cluster: string;
    readonly listener: string;
    /** Unix time, ms. */
    readonly wall: Millis;
  },
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
    return { ...base, route: ruleOf(match), services: [], problem };
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
    const { policy = null, policyOrigins = [], replication } = runtime?.balancer.service ?? {};
    const at = { match, service, raw: runtime?.raw ?? false, wall: about.wall };
    const data = replication && needOf(replication, head, asked.writtenMs, at);
    const priority =
      asked.priority ?? priorityOf(policy?.priority ?? undefined, FIRST_HOP, head.fields);
    const constraint = { visited: [], tried: [], within, foreign: false, priority, data };
    const locales = runtime === undefined ? [] : explainLocales(runtime.balancer, constraint, now);
    services.push({
      ...{ service, share: weight / total, policy, policyOrigins, priority, locales },
      data: data === undefined ? null : { ...data, primary: replication!.primary },
      fence: policy?.places?.mustStayIn ?? null,
    });
  }
  const route = match.kind === "address" ? `mesh address ${url.hostname}` : ruleOf(match);
  const unknown = services.find((s) => s.locales.length === 0);
  if (services.length === 0)
    return { ...base, route, services, problem: `no backend (${says.nobody})` };
  if (unknown === undefined) return { ...base, route, services };
  return { ...base, route, services, problem: `nobody serves ${unknown.service} (${says.nobody})` };
}

/** What the request asks of replicas, once its route has done to it what it does. */
function needOf(
  replication: Replication,
  asked: RequestHead,
  writtenMs: Millis | undefined,
  about: {
    readonly match: NonNullable<ReturnType<Tables["routes"]["match"]>>;
    readonly service: ServiceName;
    readonly raw: boolean;
    readonly wall: Millis;
  },
): DataNeed {
  const { match, service, raw, wall } = about;
  const head = { ...asked, fields: asked.fields.slice() };
  removeDataFields(head.fields);
  if (match.kind === "rule") {
    match.filters?.editRequest(head);
    const edits = match.backends.find((backend) => backend.service === service)?.request;
    if (edits !== undefined) applyEdits(head.fields, edits);
  }
  if (writtenMs !== undefined) {
    head.fields.push(WRITTEN, Math.max(0, Math.ceil(wall - writtenMs)).toString(36));
  }
  return dataNeedOf(replication, head, { hop: FIRST_HOP, reads: saysRead(head.fields), raw, wall });
}

/** Rules have no names: their places tell them apart, the first one being 1. */
function ruleOf({ route, rule }: CompiledRule): string {
  const of = route.rules.length < 2 ? "" : `, rule ${route.rules.indexOf(rule) + 1}`;
  return `${titleOf(route)}${of}`;
}
