import { BODY_UNKNOWN, type BodyLength, type Fields } from "#proxy/exchange/exchange.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";

/** What a field means to the codec; everything else passes through. */
type Role =
  | "end_to_end"
  | "host"
  | "content_length"
  | "transfer_encoding"
  | "connection"
  | "upgrade"
  | "expect"
  | "te"
  /** Belongs to one connection only (RFC 9110 §7.6.1). */
  | "hop";

/** A name that was met: what HTTP/1 and HTTP/2 make of it. */
export interface KnownName {
  /** As it was written. */
  readonly raw: string;
  /** Lower case. */
  readonly name: string;
  readonly role: Role;
}

/** A Map: an object would find a role for `constructor` too. */
const ROLES: ReadonlyMap<string, Role> = new Map<string, Role>([
  ["host", "host"],
  ["content-length", "content_length"],
  ["transfer-encoding", "transfer_encoding"],
  ["connection", "connection"],
  ["proxy-connection", "hop"],
  ["keep-alive", "hop"],
  ["te", "te"],
  ["upgrade", "upgrade"],
  ["expect", "expect"],
  ["http2-settings", "hop"],
]);

const TRAILERS = /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i;

/**
 * Spellings met so far: most names come in two or three of them, so the check is paid once. Found by
 * length and two characters, and compared in place: a name that is known is never cut out of its head.
 */
const KNOWN: Array<KnownName[] | undefined> = new Array(1_024).fill(undefined);
const KNOWN_MAX = 1_024;
const KNOWN_NAME_MAX = 64;
/** Few share a place, or hostile names could make each look-up long. */
const SAME_PLACE_MAX = 4;
let knownCount = 0;

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The name from `at` to `colon`; undefined if it is not a token, or forges one that sets framing. */
export function nameAt(head: string, at: number, colon: number): KnownName | undefined {
  const length = colon - at;
  const place =
    (length * 31 + head.charCodeAt(at) * 7 + head.charCodeAt(colon - 1) * 131) & (KNOWN.length - 1);
  const known = KNOWN[place];
  if (known !== undefined) {
    for (let i = 0; i < known.length; i++) {
      const one = known[i]!;
      if (one.raw.length === length && head.startsWith(one.raw, at)) return one;
    }
  }
  return newName(head.slice(at, colon), place);
}

function newName(raw: string, place: number): KnownName | undefined {
  if (!TOKEN.test(raw)) return undefined;
  // A slice would keep the whole head that it was cut from in memory.
  const own = Buffer.from(raw, "latin1").latin1Slice();
  const name = own.toLowerCase();
  const role = name.includes("_") ? roleOfAlias(name) : (ROLES.get(name) ?? "end_to_end");
  if (role === undefined) return undefined;
  const fresh: KnownName = { raw: own, name, role };
  KNOWN[place] ??= [];
  // Hostile names must not push out the usual ones: full means full.
  const isWelcome = knownCount < KNOWN_MAX && KNOWN[place].length < SAME_PLACE_MAX;
  if (isWelcome && raw.length <= KNOWN_NAME_MAX) {
    KNOWN[place].push(fresh);
    knownCount++;
  }
  return fresh;
}

/**
 * To servers that hand fields on as variables (CGI and its heirs) `_` and `-` are one: what sets framing
 * under such a name is refused (undefined), what would forge a client's address is dropped.
 */
function roleOfAlias(name: string): Role | undefined {
  const meant = name.replaceAll("_", "-");
  if (ROLES.has(meant)) return undefined;
  return FORGEABLE.test(meant) ? "hop" : "end_to_end";
}

const FORGEABLE = /^x-(?:mesh-|forwarded-|real-ip$|request-id$)/;

/** Why a head was refused. */
export type FieldProblem = "too_many" | "malformed";

/** What the fields of one head say, framing apart from the rest. Reused from head to head. */
export class ParsedFields {
  /** End-to-end fields. A new list for each head. */
  fields: Fields = [];
  host: string | undefined = undefined;
  /** `BODY_UNKNOWN` for chunked; undefined if nothing was said. */
  body: BodyLength | undefined = undefined;
  close = false;
  keepAlive = false;
  /** `Connection` names it. */
  upgradeAsked = false;
  upgrade: string | undefined = undefined;
  /** It is end-to-end as well. */
  expect: string | undefined = undefined;
  /** `TE` says `trailers`. */
  takesTrailers = false;
  problem: FieldProblem | undefined = undefined;

  /**
   * Reads lines from `at` to the end of `head`, which ends before the empty line and has no stray bytes.
   * Strict (RFC 9112 §5, §6): whatever two parsers could read in two ways is `malformed`.
   */
  parse(head: string, at: number, limits: ConnectionLimits): void {
    this.fields = [];
    this.host = undefined;
    this.body = undefined;
    this.close = false;
    this.keepAlive = false;
    this.upgradeAsked = false;
    this.upgrade = undefined;
    this.expect = undefined;
    this.takesTrailers = false;
    this.problem = undefined;
    let count = 0;
    let named: string[] | undefined;
    while (at < head.length) {
      // One character is found faster than two, and here a CR is never without its LF.
      let end = head.indexOf("\r", at);
      if (end < 0) end = head.length;
      const colon = head.indexOf(":", at);
      // No colon, no name, a fold (the name would start with a space) or a space before the colon.
      const known = colon <= at || colon >= end ? undefined : nameAt(head, at, colon);
      if (known === undefined) {
        this.problem = "malformed";
        return;
      }
      if (++count > limits.fieldsMax) {
        this.problem = "too_many";
        return;
      }
      const value = trimmed(head, colon + 1, end);
      if (known.role === "end_to_end") this.fields.push(known.name, value);
      else if (known.role === "upgrade") this.upgrade = listed(this.upgrade, value);
      else if (known.role === "expect") {
        this.expect = listed(this.expect, value);
        this.fields.push(known.name, value);
      } else if (known.role === "te") this.takesTrailers ||= TRAILERS.test(value);
      else if (known.role === "connection") named = this.#connection(value, named);
      else if (
        known.role !== "hop" &&
        (isTabbed(head, colon + 1, end, known.role) || !this.#framing(known.role, value))
      ) {
        this.problem = "malformed";
        return;
      }
      at = end + 2;
    }
    if (named !== undefined) this.#drop(named);
  }

  #framing(role: "host" | "content_length" | "transfer_encoding", value: string): boolean {
    if (role === "host") {
      if (this.host !== undefined) return false;
      this.host = value;
      return true;
    }
    // Twice, or both kinds: request smuggling (RFC 9112 §6.3), even if they agree.
    if (this.body !== undefined) return false;
    if (role === "transfer_encoding") {
      if (value !== "chunked" && value.toLowerCase() !== "chunked") return false;
      this.body = BODY_UNKNOWN;
      return true;
    }
    const length = contentLength(value);
    if (length < 0) return false;
    this.body = length;
    return true;
  }

  /** Returns the fields that it names, to be dropped with it. */
  #connection(value: string, named: string[] | undefined): string[] | undefined {
    if (value === "keep-alive") {
      this.keepAlive = true;
      return named;
    }
    for (const part of value.toLowerCase().split(",")) {
      const option = part.trim();
      if (option === "close") this.close = true;
      else if (option === "keep-alive") this.keepAlive = true;
      else if (option === "upgrade") this.upgradeAsked = true;
      else if (option !== "" && !ROLES.has(option)) {
        if (named === undefined) named = [option];
        else named.push(option);
      }
    }
    return named;
  }

  #drop(named: readonly string[]): void {
    const kept: Fields = [];
    for (let i = 0; i < this.fields.length; i += 2) {
      if (!named.includes(this.fields[i]!)) kept.push(this.fields[i]!, this.fields[i + 1]!);
    }
    this.fields = kept;
  }
}

/** What `Content-Length` says: digits and nothing else (RFC 9110 §8.6); -1: they are none, or too many to count. */
export function contentLength(value: string): number {
  if (value.length === 0 || value.length > 15) return -1;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** Lines of one name as one value (RFC 9110 §5.3). */
export function listed(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}

/** The slice without spaces and tabs around it. */
function trimmed(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

/**
 * A tab beside a value that frames the message, or behind the one of Host: RFC 9110 §5.5 has it taken away, and some
 * readers take it for a part of the value, which then means something else. All agree on one before Host's.
 */
function isTabbed(text: string, from: number, to: number, role: Role): boolean {
  while (to > from && text.charCodeAt(to - 1) === 32) to--;
  if (text.charCodeAt(to - 1) === 9) return true;
  if (role === "host") return false;
  while (from < to && text.charCodeAt(from) === 32) from++;
  return text.charCodeAt(from) === 9;
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** Lines of allowed characters between CRLFs. Each character can match in one way only: linear. */
const CLEAN = /^[\t -~\x80-\xff]*(?:\r\n[\t -~\x80-\xff]*)*$/;

/** True if `head` holds NUL, another control character, or a CR or LF that is not part of CRLF. */
export function hasStrayBytes(head: string): boolean {
  return !CLEAN.test(head);
}

/** The same of a head that is not complete, from `from` on: what is before was looked at already. */
export function isStray(begun: string, from: number): boolean {
  const start = from > 0 && begun.charCodeAt(from - 1) === 13 ? from - 1 : from;
  return hasStrayBytes(begun.slice(start, begun.endsWith("\r") ? -1 : undefined));
}
