import type { Fields } from "#proxy/exchange/exchange.ts";

/** Lines of the same name as one, joined by commas (RFC 9110 §5.3). @param name in lower case. */
export function fieldValue(fields: Fields, name: string): string | undefined {
  let value: string | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== name) continue;
    value = value === undefined ? fields[i + 1]! : `${value}, ${fields[i + 1]}`;
  }
  return value;
}

/** Takes every field of these names out. */
export function removeFields(fields: Fields, names: ReadonlySet<string>): void {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (names.has(name)) continue;
    if (kept !== i) {
      fields[kept] = name;
      fields[kept + 1] = fields[i + 1]!;
    }
    kept += 2;
  }
  fields.length = kept;
}

/** The value of a cookie. @param text of the `cookie` field, lines joined. */
export function cookieOf(text: string | undefined, name: string): string | undefined {
  if (text === undefined) return undefined;
  for (const part of text.split(/[;,]/)) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}
