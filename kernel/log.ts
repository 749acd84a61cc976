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

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** The level that `text` names; undefined if it names none. */
export function parseLogLevel(text: string | null | undefined): LogLevel | undefined {
  return LEVELS.find((level) => level === text);
}

/** A logger whose level, and that of all loggers made of it, can be changed while it runs. */
export interface LeveledLogger extends Logger {
  level: LogLevel;
}

/**
 * JSON lines on stderr (stdout belongs to the commands' own output).
 * @param base fields of every line.
 */
export function jsonLogger(level: LogLevel = "info", base: LogFields = {}): LeveledLogger {
  const sink = pino.destination({ dest: 2, sync: true });
  // A full or closed stderr must not end a proxy: the line is lost, the request is not.
  sink.on("error", () => {});
  const settings = {
    level: "debug",
    base: null,
    messageKey: "message",
    timestamp: isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const least = { index: LEVELS.indexOf(level) };
  return Object.defineProperty(wrap(pino(settings, sink).child(base), least), "level", {
    get: () => LEVELS[least.index]!,
    set: (wanted: LogLevel) => {
      least.index = LEVELS.indexOf(wanted);
    },
  }) as LeveledLogger;
}

function isoTime(): string {
  return pino.stdTimeFunctions.isoTime();
}

function wrap(log: pino.Logger, least: { readonly index: number }): Logger {
  const at =
    (level: LogLevel) =>
    (message: string, fields?: LogFields): void => {
      if (LEVELS.indexOf(level) >= least.index) log[level](fields ?? {}, message);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => wrap(log.child(fields), least),
  };
}

/** One line that was said. */
export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Keeps its lines in memory, for tests that assert on what was said. */
export class MemoryLogger implements LeveledLogger {
  /** Kept, and keeps nothing out. */
  level: LogLevel = "info";
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
