import pino from "pino";

/** How much a line matters. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields of one log line. Never secrets: keys, tokens, headers of requests. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Says things to the operator. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  with(fields: LogFields): Logger;
}

/** JSON lines on stderr (stdout belongs to the commands' own output). */
export function jsonLogger(level: LogLevel = "info"): Logger {
  const sink = pino.destination({ dest: 2, sync: true });
  // A full or closed stderr must not end a proxy: the line is lost, the request is not.
  sink.on("error", () => {});
  return wrap(
    pino(
      {
        level,
        base: null,
        messageKey: "message",
        timestamp: isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      sink,
    ),
  );
}

function isoTime(): string {
  return pino.stdTimeFunctions.isoTime();
}

function wrap(log: pino.Logger): Logger {
  return {
    debug: (message, fields) => log.debug(fields ?? {}, message),
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
    with: (fields) => wrap(log.child(fields)),
  };
}

/** One line that was said. */
export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Keeps its lines in memory, for tests that assert on what was said. */
export class MemoryLogger implements Logger {
  readonly lines: LogLine[];
  readonly #fields: LogFields;

  constructor(lines: LogLine[] = [], fields: LogFields = {}) {
    this.lines = lines;
    this.#fields = fields;
  }
  debug(message: string, fields?: LogFields): void {
    this.#add("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#add("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#add("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#add("error", message, fields);
  }
  with(fields: LogFields): Logger {
    return new MemoryLogger(this.lines, { ...this.#fields, ...fields });
  }
  #add(level: LogLevel, message: string, fields: LogFields | undefined): void {
    this.lines.push({ level, message, fields: { ...this.#fields, ...fields } });
  }
}
