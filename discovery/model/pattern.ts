import { RE2JS, RE2JSException } from "re2js";
import { err, ok, type Result } from "#kernel/result.ts";

/** Longest regular expression that a configuration may hold, characters. */
const PATTERN_CHARS_MAX = 1_024;
/** Largest compiled form, instructions: what one is allowed to cost in memory. */
const PROGRAM_MAX = 20_000;

/** A regular expression in RE2's syntax: the time it takes grows with the text alone, whatever it says. */
export interface Pattern {
  /** True if the whole of `text` matches. */
  covers(text: string): boolean;
}

/** The error says what is wrong with the pattern. */
export function parsePattern(source: string): Result<Pattern, string> {
  if (source.length > PATTERN_CHARS_MAX) return err(`longer than ${PATTERN_CHARS_MAX} characters`);
  try {
    const compiled = RE2JS.compile(source);
    if (compiled.programSize() > PROGRAM_MAX) return err("too large when compiled");
    return ok({ covers: (text) => compiled.testExact(text) });
  } catch (error) {
    if (error instanceof RE2JSException) return err(error.message);
    throw error;
  }
}
