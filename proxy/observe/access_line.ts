import type { Millis } from "#kernel/brand.ts";
import { LINE_BYTES_MAX } from "#proxy/observe/access_log.ts";

/** Characters that one field shows at most. */
export const FIELD_CHARS_MAX = 1_024;
/** And when the line is too long with that: so few that no line can be. */
const FIELD_CHARS_MIN = 64;
/** Printable ASCII but the quote and the backslash: stands in JSON as it is. */
const PLAIN = /^[ !#-[\]-~]*$/;
/** DEL, what terminals may obey (C1), and what is not ASCII: a line's length is its bytes then. */
const NOT_ASCII = /[\u007f-\uffff]/g;

/**
 * One JSON line in the making, put together by hand: an object and `JSON.stringify` cost more than twice as much
 * (`bench/micro`). Every text goes through one place that escapes control characters, quotes and whatever is not
 * ASCII, so nothing that a client says can end the line or begin another field.
 */
export class AccessLine {
  readonly #charsMax: number;
  #text = "";

  constructor(charsMax: number) {
    this.#charsMax = charsMax;
  }

  /** Nothing for an empty text. @param name one of ours: it is not escaped. */
  text(name: string, value: string | undefined): void {
    if (value === undefined || value === "") return;
    const shown = value.length > this.#charsMax ? value.slice(0, this.#charsMax) : value;
    this.#text += `,"${name}":${PLAIN.test(shown) ? `"${shown}"` : asciiJson(shown)}`;
  }

  number(name: string, value: number): void {
    this.#text += `,"${name}":${value}`;
  }

  end(wall: Millis): string {
    return `{"timestamp":"${isoTime(wall)}"${this.#text}}\n`;
  }
}

/** The line that `fill` makes; with less of each field if it were too long. */
export function lineOf(wall: Millis, fill: (line: AccessLine) => void): string {
  const wide = new AccessLine(FIELD_CHARS_MAX);
  fill(wide);
  const text = wide.end(wall);
  if (text.length <= LINE_BYTES_MAX) return text;
  const narrow = new AccessLine(FIELD_CHARS_MIN);
  fill(narrow);
  return narrow.end(wall);
}

function asciiJson(value: string): string {
  return JSON.stringify(value).replace(
    NOT_ASCII,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Of the second that was told last: a busy log has many lines of one. */
let second = Number.NaN;
let secondText = "";

/** RFC 3339 in UTC, to the millisecond. */
function isoTime(wall: Millis): string {
  const whole = Math.floor(wall / 1_000);
  if (whole !== second) {
    second = whole;
    secondText = new Date(whole * 1_000).toISOString().slice(0, -4);
  }
  return `${secondText}${String(Math.floor(wall) - whole * 1_000).padStart(3, "0")}Z`;
}
