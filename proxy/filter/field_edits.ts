import type { HeaderEdits } from "#model/snapshot.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { removeFields } from "#proxy/exchange/fields.ts";

/** Changes to a list of fields, compiled. */
export interface FieldEdits {
  /** Names that go: those removed and those set anew. */
  readonly gone: ReadonlySet<string>;
  /** Names and values that come, appended. */
  readonly come: Fields;
}

/** Undefined if there is nothing to change. */
export function compileEdits(edits: HeaderEdits | undefined): FieldEdits | undefined {
  if (edits === undefined) return undefined;
  const { set, add, remove } = edits;
  const come = [...set, ...add].flatMap(({ name, value }) => [name, value]);
  const gone = new Set([...set.map(({ name }) => name), ...remove]);
  return come.length === 0 && gone.size === 0 ? undefined : { gone, come };
}

/** Changes `fields` in place. */
export function applyEdits(fields: Fields, { gone, come }: FieldEdits): void {
  if (gone.size > 0) removeFields(fields, gone);
  for (const text of come) fields.push(text);
}
