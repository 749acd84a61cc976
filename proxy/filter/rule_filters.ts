import type { Rng } from "#kernel/rng.ts";
import type { Filters, Listener, Mirror } from "#model/snapshot.ts";
import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { announcedMethod, CorsPolicy } from "#proxy/filter/cors.ts";
import { applyEdits, compileEdits, type FieldEdits } from "#proxy/filter/field_edits.ts";
import { redirectLocation, rewriteHead } from "#proxy/filter/target.ts";

/** The filters of one rule (Gateway API HTTPRouteFilter), compiled for one listener and one match. */
export interface RuleFilters {
  /** Answered by the proxy itself: a preflight, a redirect. Undefined: pass it on. */
  answerFor(head: RequestHead): AnswerHead | undefined;
  /** Changes the head before it is passed on. */
  editRequest(head: RequestHead): void;
  /** How to change the head of its answer. @param head of the request as the client sent it. */
  answerEdit(head: RequestHead): ((answer: Fields) => void) | undefined;
  /** The services that get a copy of this request. */
  mirrors(rng: Rng): readonly Mirror[];
}

const NONE: readonly Mirror[] = [];

/** @param prefix the path prefix that matched; undefined if none did. */
export function compileFilters(
  filters: Filters,
  listener: Listener,
  prefix: string | undefined,
): RuleFilters {
  const { redirect, rewrite, mirrors } = filters;
  const cors = filters.cors === undefined ? undefined : new CorsPolicy(filters.cors);
  const request = compileEdits(filters.request);
  const answer = compileEdits(filters.answer);
  const scheme = listener.protocol === "HTTPS" ? "https" : "http";
  const from = { scheme, port: listener.port } as const;
  return {
    answerFor(head) {
      if (cors !== undefined && announcedMethod(head) !== undefined) {
        return bare(204, cors.preflightFields(head));
      }
      if (redirect === undefined) return undefined;
      const location = redirectLocation(head, redirect, from, prefix);
      const fields = ["location", location];
      if (answer !== undefined) applyEdits(fields, answer);
      return bare(redirect.status, fields);
    },
    editRequest(head) {
      if (rewrite !== undefined) rewriteHead(head, rewrite, prefix);
      if (request !== undefined) applyEdits(head.fields, request);
    },
    answerEdit: (head) => answerEdit(cors?.originOf(head), cors, answer),
    mirrors: (rng) =>
      mirrors.length === 0 ? NONE : mirrors.filter(({ share }) => share >= 1 || rng.next() < share),
  };
}

function answerEdit(
  origin: string | undefined,
  cors: CorsPolicy | undefined,
  edits: FieldEdits | undefined,
) {
  if (origin === undefined && edits === undefined) return undefined;
  return (answer: Fields): void => {
    if (edits !== undefined) applyEdits(answer, edits);
    if (origin !== undefined) cors!.mark(origin, answer);
  };
}

function bare(status: number, fields: Fields): AnswerHead {
  return { status, reason: "", fields, body: 0, upgrade: undefined };
}
