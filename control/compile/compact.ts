/** `T` with what may be undefined made optional. */
type Compact<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Without the fields that are undefined: a snapshot says nothing where its author said nothing. */
export function compact<T extends object>(value: T): Compact<T> {
  const said: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) if (field !== undefined) said[name] = field;
  return said as Compact<T>;
}
