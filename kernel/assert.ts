/** Thrown for our own mistakes only: a broken invariant ends the process. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Ends the process, by an error that nobody catches, if an invariant of ours does not hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** For the `default` of a `switch` over a closed union: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable case: ${JSON.stringify(value)}`);
}
