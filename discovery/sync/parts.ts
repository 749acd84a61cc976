/**
 * One part of what an owner says. What many owners say alike is one map for all of them, so that a parent of many
 * children compares and remembers it once.
 */
export interface Part<T> {
  /** Nobody changes it any more. */
  readonly shared: ReadonlyMap<string, T>;
  /** A key of it that this owner does not say. */
  readonly without: string | undefined;
  /** What this owner alone says, by keys that no other part has. */
  readonly own: ReadonlyMap<string, T>;
}

/** A state that is nobody else's. */
export function wholePart<T>(entries: ReadonlyMap<string, T>): Part<T> {
  return { shared: entries, without: undefined, own: EMPTY as ReadonlyMap<string, T> };
}

const EMPTY: ReadonlyMap<string, never> = new Map<string, never>();

/** Nothing at all. */
export const NO_PART: Part<never> = wholePart(EMPTY);

/** All that a part comes to. */
export function* entriesOf<T>({ shared, without, own }: Part<T>): Iterable<readonly [string, T]> {
  for (const entry of shared) if (entry[0] !== without) yield entry;
  yield* own;
}

/** How many entries it has. */
export function sizeOf<T>({ shared, without, own }: Part<T>): number {
  return shared.size + own.size - Number(without !== undefined && shared.has(without));
}

/** What is not the same object in `now` as in `before`, or not there; undefined: it is not there. */
export function* differences<T>(
  before: Part<T>,
  now: Part<T>,
): Iterable<readonly [key: string, before: T | undefined, now: T | undefined]> {
  if (before === now) return;
  if (before.shared !== now.shared) {
    for (const [key, last] of before.shared) {
      if (key === before.without) continue;
      const value = saidBy(now, key);
      if (value !== last) yield [key, last, value];
    }
    for (const [key, value] of now.shared) {
      if (key !== now.without && saidBy(before, key) === undefined) yield [key, undefined, value];
    }
  } else if (before.without !== now.without) {
    for (const key of [before.without, now.without]) {
      if (key === undefined) continue;
      const [last, value] = [saidBy(before, key), saidBy(now, key)];
      if (last !== value) yield [key, last, value];
    }
  }
  for (const [key, last] of before.own) {
    const value = saidBy(now, key);
    if (value !== last) yield [key, last, value];
  }
  for (const [key, value] of now.own) {
    if (saidBy(before, key) === undefined) yield [key, undefined, value];
  }
}

function saidBy<T>({ shared, without, own }: Part<T>, key: string): T | undefined {
  return own.get(key) ?? (key === without ? undefined : shared.get(key));
}
