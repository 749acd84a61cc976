import type { Mirror } from "#model/snapshot.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { Exchange, Fields } from "#proxy/exchange/exchange.ts";
import { applyEdits } from "#proxy/filter/field_edits.ts";
import { markSession, readSession } from "#proxy/filter/session.ts";
import type { AnswerEdit, RelayPorts } from "#proxy/relay/plan.ts";
import type { CompiledBackend, CompiledRule } from "#proxy/route/rule.ts";

/** What a rule with filters or sessions adds to a plan. */
export interface RuleEffects {
  readonly session: string | undefined;
  readonly editAnswer: AnswerEdit | undefined;
  readonly mirrors: readonly Mirror[];
}

/** True if a backend asks for nothing but requests. */
export function isPlain({ request, answer }: CompiledBackend): boolean {
  return request === undefined && answer === undefined;
}

/** Changes the request's head as the rule and the backend say; what is to be done later is returned. */
export function followRule(
  { filters, persistence }: CompiledRule,
  backend: CompiledBackend,
  exchange: Exchange,
  { rng, clock }: RelayPorts,
): RuleEffects {
  const { head, secure } = exchange;
  const wall = clock.wall();
  const session = persistence && readSession(persistence, head.fields, wall);
  const ofRule = filters?.answerEdit(head);
  const mirrors = filters?.mirrors(rng) ?? [];
  filters?.editRequest(head);
  if (backend.request !== undefined) applyEdits(head.fields, backend.request);
  const { answer } = backend;
  const editAnswer = (fields: Fields, by: EndpointState | undefined): void => {
    if (answer !== undefined) applyEdits(fields, answer);
    ofRule?.(fields);
    if (session === undefined || by === undefined) return;
    markSession(persistence!, session, { key: by.sessionKey, wall, secure }, fields);
  };
  const edits = answer !== undefined || ofRule !== undefined || session !== undefined;
  return { session: session?.key, editAnswer: edits ? editAnswer : undefined, mirrors };
}
