/** A value or a failure, for everything that the outside world can get wrong. */
export type Result<T, E> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E };

/** A value. */
export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/** A failure. */
export function err<E>(error: E): { readonly ok: false; readonly error: E } {
  return { ok: false, error };
}

/** One thing wrong with an input, said so that its author can find and mend it. */
export interface Problem {
  /** Where the input came from: a file name or a peer's name. */
  readonly source: string;
  /** 1-based line in `source`; absent for inputs without lines. */
  readonly line?: number;
  /** Path inside the document: `spec.rules[0].backendRefs[0].name`. */
  readonly path: string;
  readonly message: string;
}

/** Problems that are told one by one; more help nobody, and a file may have as many as it has bytes. */
const TOLD_MAX = 100;

/** A line for each problem, and one for those that are too many. */
export function formatProblems(problems: readonly Problem[]): string[] {
  const told = problems.slice(0, TOLD_MAX).map(formatProblem);
  if (problems.length > TOLD_MAX) told.push(`and ${problems.length - TOLD_MAX} problems more`);
  return told;
}

/** `file.yaml:12: spec.rules[0].name: message`. */
export function formatProblem(problem: Problem): string {
  const place = problem.line === undefined ? problem.source : `${problem.source}:${problem.line}`;
  return problem.path === ""
    ? `${place}: ${problem.message}`
    : `${place}: ${problem.path}: ${problem.message}`;
}
