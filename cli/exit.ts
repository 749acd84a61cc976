import { formatProblems, type Problem } from "#kernel/result.ts";

/** Exit codes of every command; `espalier --help` lists them. */
export const EXIT = {
  ok: 0,
  /** It ran and something went wrong: a peer refused, a promise was broken. */
  failed: 1,
  /** The command line or a configuration is wrong; nothing was started. */
  usage: 2,
  /** Something that must be installed is missing. */
  missing: 3,
} as const;

/** Ends the command: `main.ts` prints the lines on stderr and exits with the code. */
export class CommandError extends Error {
  readonly code: number;
  readonly lines: readonly string[];

  constructor(code: number, lines: readonly string[]) {
    super(lines.join("\n"));
    this.code = code;
    this.lines = lines;
  }
}

/** It ran and went wrong. */
export function fail(message: string): CommandError {
  return new CommandError(EXIT.failed, [message]);
}

/** The command line or a configuration is wrong. */
export function usage(message: string): CommandError {
  return new CommandError(EXIT.usage, [message]);
}

/** Something must be installed first. */
export function missing(message: string): CommandError {
  return new CommandError(EXIT.missing, [message]);
}

/** Every problem on a line of its own. */
export function badConfig(problems: readonly Problem[]): CommandError {
  return new CommandError(EXIT.usage, formatProblems(problems));
}
