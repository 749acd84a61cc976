import { LINE_BYTES_MAX } from "#proxy/observe/access_log.ts";

/** Characters that one field shows at most. */
export const FIELD_CHARS_MAX = 1_024;
/** And when the line is too long with that: so few that no line can be. */
const FIELD_CHARS_MIN = 64;
/** DEL, what terminals may obey (C1), and what is not ASCII: a line's length is its bytes then. */
const NOT_ASCII = /[\u007f-\uffff]/g;

/** How much room there is for what clients say. */
export type Width = "wide" | "narrow";

/** `text` as far as there is room for it. */
export function bounded(text: string | undefined, width: Width): string | undefined {
  const most = width === "wide" ? FIELD_CHARS_MAX : FIELD_CHARS_MIN;
  return text !== undefined && text.length > most ? text.slice(0, most) : text;
}

/**
 * One JSON line. Control characters, quotes and whatever is not ASCII are escaped, so nothing that a
 * client says can end the line or begin another field.
 */
export function lineOf(fields: (width: Width) => object): string {
  const wide = asciiJson(fields("wide"));
  return wide.length < LINE_BYTES_MAX ? `${wide}\n` : `${asciiJson(fields("narrow"))}\n`;
}

function asciiJson(value: object): string {
  const text = JSON.stringify(value);
  if (text.search(NOT_ASCII) < 0) return text;
  return text.replace(NOT_ASCII, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
