import type { BodyLength, Fields } from "#proxy/exchange/exchange.ts";
import { BODY_UNKNOWN } from "#proxy/exchange/exchange.ts";
import { CONNECTION_LIMITS, type ConnectionLimits } from "#proxy/exchange/limits.ts";
import { hasStrayBytes, isStray, ParsedFields } from "#proxy/http1/parser_fields.ts";
import { UNTIL_CLOSE } from "#proxy/http1/parser_head.ts";
import { latin1 } from "#proxy/socket/latin1.ts";

/** What one step through a body found. */
export type BodyStep = "data" | "end" | "more" | "bad";

type Phase = "length" | "close" | "size" | "chunk" | "chunk_end" | "trailers" | "ended";

/**
 * Fields that a trailer must not set: framing, routing, trust, how to read the content, what to do with
 * the message (RFC 9110 §6.5.1). Some readers add trailers to the fields of the head.
 */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "www-authenticate",
  "proxy-authenticate",
  "content-encoding",
  "content-range",
  "content-type",
  "content-location",
  "cookie",
  "set-cookie",
  "cache-control",
  "pragma",
  "expires",
  "age",
  "date",
  "vary",
  "location",
  "retry-after",
  "expect",
  "max-forwards",
  "range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  "forwarded",
  "via",
  "x-real-ip",
  "x-request-id",
  "traceparent",
  "tracestate",
]);
/** Names that begin so are for proxies alone. */
const FOR_PROXIES = /^x-(?:mesh|forwarded)-/;

/**
 * Of a chunk: its size and extensions (RFC 9112 §7.1), each `;name`, `;name=token` or `;name="quoted"`,
 * without blanks: most servers refuse those. Each character can match in one way only: linear.
 */
const CHUNK_LINE =
  /^([0-9a-fA-F]{1,12})(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*$/;

const CR = 13;
const LF = 10;
const parsedTrailers = new ParsedFields();

/**
 * Reads a body piece by piece, however it is framed: `step` moves `at` through a buffer and stops at
 * each piece, so that the caller can stop reading between any two.
 */
export class BodyDecoder {
  /** Where the next step reads. */
  at = 0;
  /** The piece that a step of `data` found: a slice of the buffer it was given. */
  data: Buffer = EMPTY;
  /** After `end`; undefined if there were none. */
  trailers: Fields | undefined = undefined;
  readonly #limits: ConnectionLimits;
  #phase: Phase = "ended";
  #left = 0;
  /** A line of the chunked framing that a buffer's end has cut. */
  #line = "";
  /** Bytes of extensions in this body so far. */
  #extensionBytes = 0;

  constructor(limits: ConnectionLimits = CONNECTION_LIMITS) {
    this.#limits = limits;
  }

  begin(length: BodyLength | typeof UNTIL_CLOSE): void {
    this.trailers = undefined;
    this.#line = "";
    this.#extensionBytes = 0;
    this.#left = length > 0 ? length : 0;
    if (length === BODY_UNKNOWN) this.#phase = "size";
    else if (length === UNTIL_CLOSE) this.#phase = "close";
    else this.#phase = length === 0 ? "ended" : "length";
  }

  get ended(): boolean {
    return this.#phase === "ended";
  }

  /** True if the end of the connection is the end of the body. */
  get endsWithConnection(): boolean {
    return this.#phase === "close";
  }

  step(buffer: Buffer): BodyStep {
    for (;;) {
      switch (this.#phase) {
        case "ended":
          return "end";
        case "length":
        case "chunk":
          return this.#take(buffer);
        case "close":
          if (this.at >= buffer.length) return "more";
          this.#slice(buffer, buffer.length);
          return "data";
        case "chunk_end": {
          const line = this.#readLine(buffer, 0);
          if (line === undefined) return "more";
          if (line !== "") return "bad";
          this.#phase = "size";
          break;
        }
        case "size": {
          const line = this.#readLine(buffer, this.#limits.chunkLineBytesMax);
          if (line === undefined) return "more";
          if (line === null || !this.#size(line)) return "bad";
          break;
        }
        case "trailers":
          return this.#readTrailers(buffer);
        default:
          return this.#phase satisfies never;
      }
    }
  }

  #take(buffer: Buffer): BodyStep {
    if (this.at >= buffer.length) return "more";
    const to = Math.min(buffer.length, this.at + this.#left);
    this.#left -= to - this.at;
    this.#slice(buffer, to);
    if (this.#left === 0) this.#phase = this.#phase === "length" ? "ended" : "chunk_end";
    return "data";
  }

  #slice(buffer: Buffer, to: number): void {
    this.data = this.at === 0 && to === buffer.length ? buffer : buffer.subarray(this.at, to);
    this.at = to;
  }

  /**
   * A line without its CRLF; undefined if it is not complete yet; null if it is too long or holds a
   * stray CR or LF.
   */
  #readLine(buffer: Buffer, max: number): string | undefined | null {
    const lf = buffer.indexOf(LF, this.at);
    const to = lf < 0 ? buffer.length : lf + 1;
    // `+ 2` for CRLF; never copies more than one byte over the bound.
    const room = max + 3 - this.#line.length;
    if (to - this.at > room) return null;
    this.#line += latin1(buffer, this.at, to);
    this.at = to;
    if (lf < 0) return this.#line.length > max + 2 ? null : undefined;
    const line = this.#line;
    this.#line = "";
    if (line.length < 2 || line.charCodeAt(line.length - 2) !== CR) return null;
    const text = line.slice(0, -2);
    return text.length > max || text.includes("\r") ? null : text;
  }

  #size(line: string): boolean {
    const match = CHUNK_LINE.exec(line);
    if (match === null) return false;
    this.#extensionBytes += line.length - match[1]!.length;
    if (this.#extensionBytes > this.#limits.chunkExtensionBytesMax) return false;
    this.#left = Number.parseInt(match[1]!, 16);
    this.#phase = this.#left === 0 ? "trailers" : "chunk";
    return true;
  }

  /** Collects up to the empty line, then reads the fields. */
  #readTrailers(buffer: Buffer): BodyStep {
    const before = this.#line.length;
    const room = this.#limits.headBytesMax - before;
    this.#line += latin1(buffer, this.at, Math.min(buffer.length, this.at + room));
    if (this.#line.startsWith("\r\n")) {
      this.at += 2 - before;
      this.#phase = "ended";
      return "end";
    }
    const end = this.#line.indexOf("\r\n\r\n");
    if (end < 0) {
      this.at = buffer.length;
      // Ended by bare line feeds it would wait for its end for ever.
      const bad = this.#line.length >= this.#limits.headBytesMax || isStray(this.#line, before);
      return bad ? "bad" : "more";
    }
    this.at += end + 4 - before;
    const text = this.#line.slice(0, end);
    if (hasStrayBytes(text)) return "bad";
    parsedTrailers.parse(text, 0, this.#limits);
    const { problem, body, host, fields } = parsedTrailers;
    if (problem !== undefined || body !== undefined || host !== undefined) return "bad";
    if (saysOfConnection(parsedTrailers)) return "bad";
    this.trailers = withoutForbidden(fields);
    this.#phase = "ended";
    return "end";
  }
}

const EMPTY = Buffer.alloc(0);

/** Some readers go by it, and close or switch behind a message that to others is one of many. */
function saysOfConnection({ close, keepAlive, upgradeAsked, upgrade }: ParsedFields): boolean {
  return close || keepAlive || upgradeAsked || upgrade !== undefined;
}

/** Trailers without what they must not set; undefined if nothing is left. */
export function withoutForbidden(fields: Fields): Fields | undefined {
  const kept: Fields = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (NOT_IN_TRAILERS.has(name) || FOR_PROXIES.test(name)) continue;
    kept.push(name, fields[i + 1]!);
  }
  return kept.length === 0 ? undefined : kept;
}
