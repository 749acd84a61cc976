import type { Mirror } from "#model/snapshot.ts";
import type { Exchange, Fields } from "#proxy/exchange/exchange.ts";
import { applyEdits } from "#proxy/filter/field_edits.ts";
import { markSession, readSession } from "#proxy/filter/session.ts";
import type { AnswerEdit, RelayPorts } from "#proxy/relay/plan.ts";
import type { CompiledBackend, CompiledRule } from "#proxy/route/rule.ts";

/** What a rule with filters or sessions adds to a plan. */
export interface RuleEffects {
  /** The client's seat, "" for a new one; undefined: no sessions. */
  readonly seat: string | undefined;
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
  { rng, clock, seal }: RelayPorts,
): RuleEffects {
  const { head, secure } = exchange;
  const wall = clock.wall();
  const session = persistence && seal && readSession(persistence, head.fields, { wall, seal });
  const ofRule = filters?.answerEdit(head);
  const mirrors = filters?.mirrors(rng) ?? [];
  filters?.editRequest(head);
  if (backend.request !== undefined) applyEdits(head.fields, backend.request);
  const { answer } = backend;
  const editAnswer = (fields: Fields, served: string | undefined): void => {
    if (answer !== undefined) applyEdits(fields, answer);
    ofRule?.(fields);
    if (session === undefined || served === undefined) return;
    markSession(persistence!, session, { seat: served, wall, seal: seal!, secure }, fields);
  };
  const edits = answer !== undefined || ofRule !== undefined || session !== undefined;
  return {
    seat: session && (session.seat ?? ""),
    editAnswer: edits ? editAnswer : undefined,
    mirrors,
  };
}
