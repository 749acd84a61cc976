import type { Millis } from "#kernel/brand.ts";
import { explainLocales, type LocaleExplanation } from "#proxy/balance/explain_locales.ts";
import type { Attempt } from "#proxy/relay/attempt.ts";
import { constraintOf, type RelayPlan } from "#proxy/relay/plan.ts";

/** Field by which a client that may asks which way its request goes: value `route`. */
export const ASK_FIELD = "espalier-debug";
/** The field of the answer that tells. */
export const ROUTE_FIELD = "espalier-route";
/** Of what all gateways say together, and of what one says of its locales. */
const LETTERS_MAX = 4_096;
const OWN_LETTERS_MAX = 1_024;

/**
 * What one gateway says of a request to who may ask: its locales as the request found them, and its tries. One line:
 * `<cluster> <service>: <locale>; … tried <endpoint>=<outcome> in <ms>, …`.
 */
export class RouteTrace {
  readonly #locales: string;
  readonly #tries: string[] = [];

  constructor(self: string, plan: RelayPlan, now: Millis) {
    const { balancer, name } = plan.service;
    const all = explainLocales(balancer, constraintOf(plan, []), now).map(told);
    this.#locales = cut(`${self} ${name}: ${all.join("; ")}`, OWN_LETTERS_MAX);
  }

  tried({ endpoint, firstByteMs }: Attempt, outcome: string): void {
    const { address, port } = endpoint.endpoint;
    const ms = Math.round(firstByteMs * 10) / 10;
    this.#tries.push(`${endpoint.locale.cluster} ${address}:${port}=${outcome} in ${ms} ms`);
  }

  /** @param further what gateways further on have said. */
  text(further: string | undefined): string {
    const tries = this.#tries.length === 0 ? "tried nobody" : `tried ${this.#tries.join(", ")}`;
    const own = `${this.#locales}; ${tries}`;
    return cut(further === undefined ? own : `${own} | ${further}`, LETTERS_MAX);
  }
}

function told(locale: LocaleExplanation): string {
  const { kind, cluster, costMs, inflight, weight, reason } = locale;
  const share = `weight=${Math.round(weight * 1_000) / 1_000}`;
  return `${kind} ${cluster} cost=${Math.round(costMs * 10) / 10} inflight=${inflight} ${share} (${reason})`;
}

/** Another gateway's words come into a field of ours. */
function cut(text: string, most: number): string {
  const plain = text.replace(/[^\x20-\x7e]/g, "?");
  return plain.length <= most ? plain : `${plain.slice(0, most - 4)} ...`;
}
