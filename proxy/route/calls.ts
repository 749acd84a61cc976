import { callOf } from "#model/call.ts";
import type { PathMatch } from "#model/snapshot.ts";
import type { RequestHead } from "#proxy/exchange/exchange.ts";
import { grpcTypeOf } from "#proxy/exchange/grpc.ts";
import { announcedMethod } from "#proxy/filter/cors.ts";
import { type Candidate, isOpen, pick } from "#proxy/route/candidates.ts";
import { type Conditions, compareConditions, patternOf } from "#proxy/route/conditions.ts";

/** A candidate whose service or method is not known by its whole name. */
interface Expression<T> extends Candidate<T> {
  readonly service: Part;
  readonly method: Part;
}

interface Part {
  /** Characters; 0: any will do. */
  readonly length: number;
  readonly covers: (text: string) => boolean;
}

/**
 * Calls of gRPC of one host. A service and method by name goes first, then a service by name, then expressions and
 * methods by name alone: the longer service, the longer method; what is for every call goes last. Among equals more
 * headers, then what was added first (Gateway API, GRPCRouteRule).
 */
export class CallTable<T> {
  /** By path: `/package.Service/Method`. */
  readonly #methods = new Map<string, Candidate<T>[]>();
  /** By `/package.Service`. */
  readonly #services = new Map<string, Candidate<T>[]>();
  readonly #expressions: Expression<T>[] = [];
  readonly #rest: Candidate<T>[] = [];

  /** @param path of a match for calls alone. @param preflights whether the rule answers them. */
  add(path: PathMatch, conditions: Conditions | undefined, value: T, preflights: boolean): void {
    const call = callOf(path);
    if (call === undefined) throw new Error(`${path.value} is no path of calls`);
    const candidate = { conditions, value, preflights };
    if (path.type === "RegularExpression") {
      const [service, method] = [partOf(call.service), partOf(call.method)];
      this.#expressions.push({ ...candidate, service, method });
      // Stable: equals stay in the order in which they were added.
      this.#expressions.sort(compareExpressions);
      return;
    }
    const candidates = this.#candidatesOf(path);
    candidates.push(candidate);
    candidates.sort((a, b) => compareConditions(b.conditions, a.conditions));
  }

  /** Undefined: no call, or one that nothing was said of. */
  find(head: RequestHead): T | undefined {
    const isCall = head.method === "POST" && grpcTypeOf(head.fields) !== undefined;
    if (!isCall && announcedMethod(head) !== "POST") return undefined;
    const { target } = head;
    const mark = target.indexOf("?");
    const path = mark < 0 ? target : target.slice(0, mark);
    // What follows the last slash is the method, as servers have it.
    const slash = path.lastIndexOf("/");
    return (
      pick(this.#methods.get(path), head, undefined) ??
      pick(this.#services.get(path.slice(0, slash)), head, undefined) ??
      this.#findExpression(path.slice(1, slash), path.slice(slash + 1), head) ??
      pick(this.#rest, head, undefined)
    );
  }

  #findExpression(service: string, method: string, head: RequestHead): T | undefined {
    for (const one of this.#expressions) {
      if (!one.method.covers(method) || !one.service.covers(service)) continue;
      if (isOpen(one, head, undefined)) return one.value;
    }
    return undefined;
  }

  #candidatesOf({ type, value }: PathMatch): Candidate<T>[] {
    if (value === "/") return this.#rest;
    const table = type === "Exact" ? this.#methods : this.#services;
    let candidates = table.get(value);
    if (candidates === undefined) {
      candidates = [];
      table.set(value, candidates);
    }
    return candidates;
  }
}

function compareExpressions<T>(a: Expression<T>, b: Expression<T>): number {
  if (a.service.length !== b.service.length) return b.service.length - a.service.length;
  if (a.method.length !== b.method.length) return b.method.length - a.method.length;
  return compareConditions(b.conditions, a.conditions);
}

/** A plain name needs no expression. */
function partOf(source: string | undefined): Part {
  if (source === undefined) return { length: 0, covers: () => true };
  if (/^\w+$/.test(source)) return { length: source.length, covers: (text) => text === source };
  const pattern = patternOf(source);
  return { length: source.length, covers: (text) => pattern.covers(text) };
}
