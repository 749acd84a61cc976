import type { Fields } from "#proxy/exchange/exchange.ts";
import { FieldReader } from "#proxy/exchange/protobuf_fields.ts";

/*
 * What endpoints say of their load (ORCA, `xds.data.orca.v3.OrcaLoadReport`) in a field of an answer's head or trailers:
 * `endpoint-load-metrics: TEXT cpu_utilization=0.3,rps_fractional=80`, `JSON {…}` or `BIN <base64>`, or
 * `endpoint-load-metrics-bin: <base64>`. It may be anything: whatever is not such a report whole is refused whole.
 */

const FIELD = "endpoint-load-metrics";
const BINARY_FIELD = "endpoint-load-metrics-bin";
const NAMES: ReadonlySet<string> = new Set([FIELD, BINARY_FIELD]);
/** More than any report needs that says what is used here. */
const LENGTH_MAX = 4_096;
const VALUE_MAX = 1e12;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
/** Of the named metrics: how old a replica's data is at most, ms. */
const STALENESS = "staleness_ms";

/** The part of a report that is used. */
export interface LoadReport {
  /** 1: full, by its own measure; may be more. 0: not told. The application's word, or that of its CPUs. */
  readonly utilization: number;
  /** Requests per second, from everybody; 0: not told. */
  readonly rps: number;
  /** Of them, errors per second. */
  readonly eps: number;
  /** Of a replica: how old its data is at most; undefined: not told. */
  readonly stalenessMs: number | undefined;
}

interface Said {
  cpu: number;
  application: number;
  rps: number;
  eps: number;
  staleness: number | undefined;
}

/**
 * The load report among `fields`; `refused`: there is something that is none, or more than one. Undefined: nothing.
 * @param keep false: it is taken out, whatever it is, for it is no business of who gets the fields.
 */
export function takeLoadReport(fields: Fields, keep: boolean): LoadReport | "refused" | undefined {
  let at = -1;
  let count = 0;
  for (let i = 0; i < fields.length; i += 2) {
    // By its length first: this is asked of every answer.
    const { length } = fields[i]!;
    if (length !== FIELD.length && length !== BINARY_FIELD.length) continue;
    if (!NAMES.has(fields[i]!)) continue;
    at = i;
    count++;
  }
  if (at < 0) return undefined;
  const name = fields[at]!;
  const value = fields[at + 1]!;
  if (!keep) removeReports(fields);
  return (count === 1 ? parse(name, value) : undefined) ?? "refused";
}

function removeReports(fields: Fields): void {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    if (NAMES.has(fields[i]!)) continue;
    fields[kept++] = fields[i]!;
    fields[kept++] = fields[i + 1]!;
  }
  fields.length = kept;
}

function parse(name: string, value: string): LoadReport | undefined {
  if (value.length > LENGTH_MAX) return undefined;
  const said: Said = { cpu: 0, application: 0, rps: 0, eps: 0, staleness: undefined };
  if (!readInto(said, name, value)) return undefined;
  const { cpu, application, rps, eps, staleness } = said;
  const utilization = application > 0 ? application : cpu;
  return { utilization, rps, eps, stalenessMs: staleness };
}

/** False: it is no report. */
function readInto(said: Said, name: string, value: string): boolean {
  if (name === BINARY_FIELD) return readBinary(said, value);
  const format = value.slice(0, 5);
  if (format === "TEXT ") return readText(said, value.slice(5));
  if (format === "JSON ") return readJson(said, value.slice(5));
  return value.startsWith("BIN ") && readBinary(said, value.slice(4));
}

function readText(said: Said, text: string): boolean {
  return text.split(",").every((pair) => {
    const equals = pair.indexOf("=");
    const number = pair.slice(equals + 1).trim();
    // `Number` takes an empty text for 0, and what no report has for numbers.
    if (equals < 1 || !/^[0-9.eE+-]+$/.test(number)) return false;
    return say(said, pair.slice(0, equals).trim(), Number(number));
  });
}

function readJson(said: Said, text: string): boolean {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return false;
  }
  if (!isRecord(parsed)) return false;
  return Object.entries(parsed).every(([key, value]) => {
    const name = snakeCase(key);
    if (!isRecord(value)) return typeof value === "number" && say(said, name, value);
    return Object.entries(value).every(
      ([of, one]) => typeof one === "number" && say(said, `${name}.${of}`, one),
    );
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Protobuf's JSON writes `cpuUtilization` and reads both. */
function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function readBinary(said: Said, text: string): boolean {
  if (!BASE64.test(text)) return false;
  const reader = new FieldReader(Buffer.from(text, "base64"));
  while (!reader.atEnd) {
    const tag = reader.varint();
    const name = DOUBLES[tag];
    if (name !== undefined) {
      if (!say(said, name, reader.double())) return false;
    } else if (tag === NAMED_METRICS) {
      if (!readNamed(said, reader.bytes())) return false;
    } else reader.skip(tag);
    if (reader.broken) return false;
  }
  return true;
}

/** Tags of fields of type double: number × 8 + 1. */
const DOUBLES: Readonly<Record<number, string>> = {
  9: "cpu_utilization",
  49: "rps_fractional",
  57: "eps",
  73: "application_utilization",
};
/** Field 8, a message per entry: key (1) and value (2). */
const NAMED_METRICS = 0x42;
const KEY = 0x0a;
const VALUE = 0x11;

function readNamed(said: Said, entry: Buffer): boolean {
  const reader = new FieldReader(entry);
  let key = "";
  let value = 0;
  while (!reader.atEnd) {
    const tag = reader.varint();
    if (tag === KEY) key = reader.bytes().latin1Slice();
    else if (tag === VALUE) value = reader.double();
    else reader.skip(tag);
    if (reader.broken) return false;
  }
  return say(said, `named_metrics.${key}`, value);
}

/** False: no value of a report. What is not used here only has to be one. */
function say(said: Said, name: string, value: number): boolean {
  if (!(value >= 0 && value <= VALUE_MAX)) return false;
  switch (name) {
    case "cpu_utilization":
      said.cpu = value;
      break;
    case "application_utilization":
      said.application = value;
      break;
    case "rps_fractional":
      said.rps = value;
      break;
    case "eps":
      said.eps = value;
      break;
    case `named_metrics.${STALENESS}`:
      said.staleness = value;
      break;
  }
  return true;
}
