import type { Millis } from "#kernel/brand.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { Tables } from "#proxy/relay/dispatcher.ts";

/** Why a request would go where it goes (DESIGN §4.6). */
export interface Explanation {
  readonly url: string;
  readonly cluster: string;
  /** Route and backend shares, or the mesh address that matched; absent if nothing matches. */
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
  readonly locales: readonly LocaleExplanation[];
}

/** @param listener name of the plain listener that the request is thought to come to. */
export function explain(
  tables: Tables,
  about: { readonly url: URL; readonly cluster: string; readonly listener: string },
  now: Millis,
): Explanation {
  const { url, cluster, listener } = about;
  const base = { url: url.href, cluster };
  const match = tables.routes.match(listener, url.host, url.pathname + url.search);
  if (match === undefined) return { ...base, services: [], problem: "no route matches (404)" };
  const within = match.kind === "address" ? match.within : undefined;
  const wanted =
    match.kind === "address"
      ? [{ service: match.service, weight: 1 }]
      : match.rule.backends.filter((backend) => backend.weight > 0);
  const total = wanted.reduce((sum, backend) => sum + backend.weight, 0);
  const services: ServiceExplanation[] = [];
  for (const { service, weight } of wanted) {
    const runtime = tables.services.get(service);
    const constraint = { visited: [], tried: [], within, foreign: false };
    const locales = runtime === undefined ? [] : explainLocales(runtime.balancer, constraint, now);
    services.push({ service, share: weight / total, locales });
  }
  const route = match.kind === "address" ? `mesh address ${url.hostname}` : match.route.name;
  const unknown = services.find((s) => s.locales.length === 0);
  if (services.length === 0) return { ...base, route, services, problem: "no backend (503)" };
  if (unknown === undefined) return { ...base, route, services };
  return { ...base, route, services, problem: `nobody serves ${unknown.service} (503)` };
}
