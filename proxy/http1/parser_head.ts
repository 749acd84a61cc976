import type { AnswerHead, RequestHead } from "#proxy/exchange/exchange.ts";
import { BODY_UNKNOWN, opensTunnel } from "#proxy/exchange/exchange.ts";
import { type Failure, type FailureName, failure } from "#proxy/exchange/failure.ts";
import { removeFields } from "#proxy/exchange/fields.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { hasStrayBytes, isStray, ParsedFields } from "#proxy/http1/parser_fields.ts";

/** A request's head and what it says of its connection. */
export interface ParsedRequest {
  readonly head: RequestHead;
  /** The connection may carry another request after this one. */
  readonly keepAlive: boolean;
  /** HTTP/1.0: gets no chunked answer and no interim ones. */
  readonly old: boolean;
}

/** An answer's head and what it says of its connection. */
export interface ParsedAnswer {
  readonly head: AnswerHead;
  readonly keepAlive: boolean;
}

// One per process is enough: parsing is synchronous and leaves nothing behind.
const parsed = new ParsedFields();

const EXPECT: ReadonlySet<string> = new Set(["expect"]);
/** A token without small letters: `Trace` is TRACE to servers that do not look at case. */
export const METHOD = /^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$/;
/** Visible ASCII but `#`: a fragment is never sent, and some cut it off where others do not. */
export const TARGET = /^[!"$-~]+$/;
/**
 * A name or an address, and a port; lower-cased by the caller. RFC 3986 would allow more in a name: `%41`
 * and `A` would be one host to some, `a,b` two, and `*.a` is a pattern to ourselves.
 */
const HOST = /^(?:[a-z0-9_~-]+(?:\.[a-z0-9_~-]+)*\.?|\[[0-9a-f:.]+\])(?::(?:0|[1-9][0-9]{0,4}))?$/;
const PORT_MAX = 65_535;

/** The last valid host: clients of one connection ask for the same again and again. */
let lastHostRaw: string | undefined;
let lastHost = "";

/**
 * The failure says what to answer. @param text the head without its empty line.
 * @param into takes what its fields say.
 */
export function parseRequest(
  text: string,
  limits: ConnectionLimits,
  into: ParsedFields = parsed,
): ParsedRequest | Failure {
  // First: a head that is cut is judged by this too, and must come to the same end.
  if (hasStrayBytes(text)) return bad("control character");
  const lineEnd = endOfLine(text);
  into.parse(text, lineEnd + 2, limits);
  return requestOf(text, lineEnd, into, limits);
}

/**
 * A request of its line and of fields that have been read. @param text begins with the line.
 * @param lineEnd where it ends.
 */
export function requestOf(
  text: string,
  lineEnd: number,
  said: ParsedFields,
  limits: ConnectionLimits,
): ParsedRequest | Failure {
  const methodEnd = text.indexOf(" ");
  const targetEnd = text.lastIndexOf(" ", lineEnd - 1);
  if (methodEnd <= 0 || methodEnd >= lineEnd || targetEnd <= methodEnd) {
    return bad("request line");
  }
  const version = text.slice(targetEnd + 1, lineEnd);
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0") {
    // 1.2 too: who refuses it, who takes it for 1.0 and who for 1.1 would frame its body in three ways.
    return /^HTTP\/[1-9]\.[0-9]$/.test(version)
      ? failure("version_refused", version)
      : bad("version");
  }
  const old = version === "HTTP/1.0";
  const method = text.slice(0, methodEnd);
  const target = text.slice(methodEnd + 1, targetEnd);
  if (target.length > limits.targetBytesMax) return failure("target_too_long", "");
  const isMethod = method === "GET" || METHOD.test(method);
  if (!isMethod || !TARGET.test(target)) return bad("method or target");
  if (said.problem !== undefined) return fieldFailure(said.problem);
  if (method === "TRACE") return failure("method_refused", method);
  const { body, expect } = said;
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") {
    return failure("expectation_refused", expect);
  }
  const connects = method === "CONNECT";
  // RFC 9110 §9.3.6: what follows belongs to the tunnel, or to nobody.
  if (connects && body !== undefined) return bad("a body with CONNECT");
  if (old && body === BODY_UNKNOWN) return bad("chunked in HTTP/1.0");
  const place = connects
    ? connectPlace(target, said.host, old)
    : placeOf(method, target, said.host, old);
  if (typeof place === "string") return bad(place);
  // Some clients name the proxy there: clear, and yet not what was meant.
  if (connects && said.host !== undefined && hostOf(said.host) !== place.authority) {
    return failure("misdirected", "Host disagrees with the target");
  }
  const head: RequestHead = {
    method,
    target: place.target,
    authority: place.authority,
    fields: said.fields,
    body: body ?? 0,
    // HTTP/2 in clear text inside a tunnel would be requests that nobody here judges.
    upgrade:
      old || connects || (body ?? 0) !== 0 || asksForH2c(said.upgrade)
        ? undefined
        : upgradeOf(said),
    takesTrailers: said.takesTrailers && !old,
  };
  // RFC 9110 §10.1.1: from HTTP/1.0 it means nothing, and passed on by us it would.
  if (old && expect !== undefined) {
    // A list of its own: what was read may be kept for the next request.
    head.fields = head.fields.slice();
    removeFields(head.fields, EXPECT);
  }
  // A client that got no tunnel may have sent bytes for it already: they are no requests.
  const keepAlive = !connects && !said.close && (!old || said.keepAlive);
  return { head, keepAlive, old };
}

/**
 * Why a head that is not complete can only be refused; undefined: nothing yet. Whoever sends it may be waiting
 * for us. @param seen how much of it was judged before.
 */
export function judgeBegun(
  text: string,
  seen: number,
  limits: ConnectionLimits,
): Failure | undefined {
  if (isStray(text, seen)) return bad("control character");
  const lineEnd = text.indexOf("\r\n");
  if (lineEnd >= 0 && lineEnd + 2 > seen && !/ HTTP\/[0-9]\.[0-9]$/.test(text.slice(0, lineEnd))) {
    return bad("request line");
  }
  // Three more may be the begin of the empty line.
  if (text.length <= limits.headBytesMax + 3) return undefined;
  return lineEnd < 0 ? failure("target_too_long", "") : failure("head_too_large", "");
}

/** Tells what was parsed from what was refused. */
export function isFailure(value: ParsedRequest | ParsedAnswer | Failure): value is Failure {
  return "kind" in value;
}

/**
 * @param text the head without its empty line.
 * @param method of the request: an answer to HEAD has no body whatever it says.
 */
export function parseAnswer(
  text: string,
  method: string,
  limits: ConnectionLimits,
): ParsedAnswer | Failure {
  const lineEnd = endOfLine(text);
  const minor = text.charCodeAt(7) - 48;
  const status = statusAt(text, 9);
  const after = text.charCodeAt(12);
  const lineIsFine =
    text.startsWith("HTTP/1.") &&
    (minor === 0 || minor === 1) &&
    text.charCodeAt(8) === 32 &&
    status >= 100 &&
    status <= 599 &&
    (lineEnd === 12 || after === 32);
  if (!lineIsFine) return badAnswer("status line");
  if (hasStrayBytes(text)) return badAnswer("control character");
  parsed.parse(text, lineEnd + 2, limits);
  if (parsed.problem !== undefined) return badAnswer(`fields ${parsed.problem}`);
  const { body, fields } = parsed;
  if (minor === 0 && body === BODY_UNKNOWN) return badAnswer("chunked in HTTP/1.0");
  const chunked = body === BODY_UNKNOWN;
  // Some readers would wait for the body, others take it for the next answer (RFC 9110 §8.6, §15.3.6).
  const mustBeEmpty = status < 200 || status === 204 || status === 205;
  if (mustBeEmpty && body !== undefined && body !== 0 && !(status === 205 && chunked)) {
    return badAnswer(`body of a ${status}`);
  }
  const tunnels = opensTunnel(method, status);
  const bodyless = method === "HEAD" || status === 204 || status === 304 || status < 200 || tunnels;
  // Neither length nor chunks: it lasts as long as the connection (RFC 9112 §6.3).
  const untilClose = !bodyless && body === undefined;
  const keepAlive =
    !untilClose && (minor === 0 ? parsed.keepAlive && !parsed.close : !parsed.close);
  const describes = bodyless && !tunnels && status !== 204 && status >= 200;
  if (describes && body !== undefined && body >= 0) {
    // For HEAD and 304 the length describes the body that is not sent.
    fields.push("content-length", String(body));
  }
  const head: AnswerHead = {
    status,
    reason: lineEnd > 13 ? text.slice(13, lineEnd) : "",
    fields,
    body: bodyless ? 0 : chunked ? BODY_UNKNOWN : (body ?? UNTIL_CLOSE),
    upgrade: status === 101 ? upgradeOf(parsed) : undefined,
  };
  return { head, keepAlive };
}

/** The three digits from `at`; -1 if they are none. */
function statusAt(text: string, at: number): number {
  let status = 0;
  for (let i = at; i < at + 3; i++) {
    const digit = text.charCodeAt(i) - 48;
    // Past the end there is no number at all.
    if (!(digit >= 0 && digit <= 9)) return -1;
    status = status * 10 + digit;
  }
  return status;
}

/** What `Upgrade` says, if `Connection` names it (RFC 9110 §7.8). */
function upgradeOf({ upgrade, upgradeAsked }: ParsedFields): string | undefined {
  return upgradeAsked && upgrade !== "" ? upgrade : undefined;
}

/** HTTP/2 inside of a tunnel would be requests that nobody here judges. */
export function asksForH2c(upgrade: string | undefined): boolean {
  return upgrade !== undefined && /(?:^|,)\s*h2c?\b/i.test(upgrade);
}

/** As `AnswerHead.body` between parser and connection only: until the connection ends. */
export const UNTIL_CLOSE = -2;

/** Where the first line ends. What else a CR may stand before is judged with the rest of the head. */
function endOfLine(text: string): number {
  const end = text.indexOf("\r");
  return end < 0 ? text.length : end;
}

function fieldFailure(problem: NonNullable<ParsedFields["problem"]>): Failure {
  const kind: FailureName = problem === "too_many" ? "head_too_large" : "bad_request";
  return failure(kind, `fields ${problem}`);
}

function bad(detail: string): Failure {
  return failure("bad_request", detail);
}

function badAnswer(detail: string): Failure {
  return failure("bad_answer", detail);
}

/** Target in origin form and authority; or what is wrong (RFC 9112 §3.2). */
function placeOf(
  method: string,
  target: string,
  hostRaw: string | undefined,
  old: boolean,
): { target: string; authority: string } | string {
  if (hostRaw === undefined && !old) return "no Host";
  const authority = hostRaw === undefined ? "" : hostOf(hostRaw);
  if (authority === undefined) return "Host";
  if (target.charCodeAt(0) === 47) return { target, authority };
  if (target === "*") return method === "OPTIONS" ? { target, authority } : "target";
  const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(target);
  if (absolute === null) return "target";
  const named = absolute[1]!.toLowerCase();
  if (!isHost(named)) return "target";
  if (hostRaw !== undefined && named !== authority) return "Host disagrees with the target";
  const rest = absolute[2]!;
  // RFC 9112 §3.2.4: without a path it asks about the server as a whole.
  if (rest === "" && method === "OPTIONS") return { target: "*", authority: named };
  return { target: rest.startsWith("/") ? rest : `/${rest}`, authority: named };
}

/** CONNECT names host and port, nothing else (RFC 9112 §3.2.3). */
export function connectPlace(
  target: string,
  hostRaw: string | undefined,
  old: boolean,
): { target: string; authority: string } | string {
  const authority = target.toLowerCase();
  const port = Number(authority.slice(authority.lastIndexOf(":") + 1));
  const hasPort = /:[0-9]+$/.test(authority) && port > 0 && port <= PORT_MAX;
  if (!hasPort || !HOST.test(authority)) return "target";
  if (hostRaw === undefined && !old) return "no Host";
  if (hostRaw !== undefined && hostOf(hostRaw) === undefined) return "Host";
  return { target: authority, authority };
}

/** A host and port in lower case; undefined if it is none. */
export function hostOf(raw: string): string | undefined {
  if (raw === lastHostRaw) return lastHost;
  const host = raw.toLowerCase();
  if (!isHost(host)) return undefined;
  lastHostRaw = raw;
  lastHost = host;
  return host;
}

function isHost(text: string): boolean {
  if (text.length > 259 || !HOST.test(text)) return false;
  const colon = text.lastIndexOf(":");
  return colon < 0 || text.endsWith("]") || Number(text.slice(colon + 1)) <= PORT_MAX;
}
