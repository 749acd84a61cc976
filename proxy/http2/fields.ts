import type { AnswerHead, Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { BODY_UNKNOWN, opensTunnel } from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { withoutForbidden } from "#proxy/http1/parser_body.ts";
import { contentLength, listed } from "#proxy/http1/parser_fields.ts";
import { asksForH2c, connectPlace, hostOf, METHOD } from "#proxy/http1/parser_head.ts";
import { Flaw, Role } from "#proxy/http2/field_roles.ts";
import type { HeaderBlock } from "#proxy/http2/hpack_decoder.ts";

/*
 * From decoded fields to the heads of an Exchange (RFC 9113 §8). What is malformed there could be read in two ways
 * once it is HTTP/1, so it never gets that far.
 */

/** A token, and a version maybe (RFC 9110 §7.8). */
const PROTOCOL = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$/;

const STATUS_ALONE = 1 << Role.STATUS;
const CONNECT_PSEUDO = (1 << Role.METHOD) | (1 << Role.AUTHORITY);
const NO_FIELDS: Fields = [];

/** What the fields of one block say, apart by their roles. Used again for the next. */
class SaidFields {
  /** Bits of the roles of pseudo-fields that were there. */
  pseudo = 0;
  method = "";
  scheme = "";
  authority: string | undefined = undefined;
  path = "";
  /** Of the path, as `HeaderField.flaws`. */
  pathFlaws = 0;
  protocol: string | undefined = undefined;
  status = "";
  host: string | undefined = undefined;
  /** -1: nothing was said. */
  length = -1;
  takesTrailers = false;
  expect: string | undefined = undefined;
  /** A new list for each block. */
  fields: Fields = NO_FIELDS;

  /** Reads the fields in their order. Returns what is wrong; undefined: nothing. */
  read(block: HeaderBlock): string | undefined {
    this.pseudo = 0;
    this.authority = undefined;
    this.protocol = undefined;
    this.host = undefined;
    this.length = -1;
    this.takesTrailers = false;
    this.expect = undefined;
    const into: Fields = [];
    this.fields = into;
    let cookieAt = -1;
    let isPseudoOver = false;
    for (let i = 0; i < block.count; i++) {
      const { name, value, role, flaws } = block.fields[i]!;
      // RFC 9113 §8.2.1.
      if ((flaws & (Flaw.CONTROL | Flaw.EDGE)) !== 0) return "a value's characters";
      if (role === Role.END_TO_END) {
        isPseudoOver = true;
        into.push(name, value);
      } else if (role <= Role.STATUS) {
        // RFC 9113 §8.3: each once, before all others.
        const bit = 1 << role;
        if (isPseudoOver || (this.pseudo & bit) !== 0) return "a pseudo-field again, or too late";
        this.pseudo |= bit;
        this.#takePseudo(role, value, flaws);
      } else {
        isPseudoOver = true;
        if (role === Role.COOKIE) {
          // RFC 9113 §8.2.3: to HTTP/1 and to handlers they are one.
          if (cookieAt >= 0) into[cookieAt] = `${into[cookieAt]}; ${value}`;
          else cookieAt = into.push(name, value) - 1;
        } else {
          const problem = this.#takeSpecial(role, name, value);
          if (problem !== undefined) return problem;
        }
      }
    }
    return undefined;
  }

  #takePseudo(role: number, value: string, flaws: number): void {
    if (role === Role.METHOD) this.method = value;
    else if (role === Role.SCHEME) this.scheme = value;
    else if (role === Role.AUTHORITY) this.authority = value;
    else if (role === Role.PROTOCOL) this.protocol = value;
    else if (role === Role.STATUS) this.status = value;
    else {
      this.path = value;
      this.pathFlaws = flaws;
    }
  }

  #takeSpecial(role: number, name: string, value: string): string | undefined {
    switch (role) {
      case Role.HOST:
        if (this.host !== undefined) return "two Hosts";
        this.host = value;
        return undefined;
      case Role.CONTENT_LENGTH:
        // Twice is refused even if both agree, as with HTTP/1.
        if (this.length >= 0) return "two lengths";
        this.length = contentLength(value);
        return this.length < 0 ? "content-length" : undefined;
      case Role.TE:
        // RFC 9113 §8.2.2.
        if (value !== "trailers" && value.toLowerCase() !== "trailers") return "te";
        this.takesTrailers = true;
        return undefined;
      case Role.EXPECT:
        this.expect = listed(this.expect, value);
        this.fields.push(name, value);
        return undefined;
      case Role.DROPPED:
        return undefined;
      default:
        return "a name that no message may have";
    }
  }
}

// One per process is enough: reading is synchronous and leaves nothing behind.
const said = new SaidFields();

/**
 * A request, or why it is none: `bad_request` is a stream error PROTOCOL_ERROR, each other kind has an answer.
 * An extended CONNECT (RFC 8441) becomes what it is in HTTP/1: a GET that asks to switch protocols. A body of 0
 * bytes may still have an end to come, if the head has not ended the stream.
 */
export function readRequest(
  block: HeaderBlock,
  endStream: boolean,
  limits: Pick<ConnectionLimits, "targetBytesMax">,
): RequestHead | Failure {
  const problem = said.read(block);
  if (problem !== undefined) return bad(problem);
  const { method, protocol, expect, length } = said;
  if ((said.pseudo & (1 << Role.METHOD)) === 0 || (said.pseudo & STATUS_ALONE) !== 0) {
    return bad("pseudo-fields");
  }
  if (method !== "GET" && !METHOD.test(method)) return bad("method");
  if (said.path.length > limits.targetBytesMax && (said.pseudo & (1 << Role.PATH)) !== 0) {
    return failure("target_too_long", "");
  }
  const connects = method === "CONNECT";
  const place = connects && protocol === undefined ? connectPlaceOf() : placeOf(method);
  if (isRefused(place)) return place;
  if (method === "TRACE") return failure("method_refused", method);
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") {
    return failure("expectation_refused", expect);
  }
  // RFC 9110 §9.3.6: what follows belongs to the tunnel.
  if (connects && length >= 0) return bad("a body with CONNECT");
  if (protocol !== undefined) {
    const isProtocol = connects && PROTOCOL.test(protocol) && !asksForH2c(protocol);
    if (!isProtocol) return bad(":protocol");
  }
  // RFC 9113 §8.1.1.
  if (endStream && length > 0) return bad("a length without a body");
  return {
    method: protocol === undefined ? method : "GET",
    target: place.target,
    authority: place.authority,
    fields: said.fields,
    body: length >= 0 ? length : endStream || connects ? 0 : BODY_UNKNOWN,
    upgrade: protocol,
    takesTrailers: said.takesTrailers,
  };
}

interface Place {
  readonly target: string;
  readonly authority: string;
}

/** RFC 9113 §8.3.1. */
function placeOf(method: string): Place | Failure {
  const { pseudo, scheme, authority, path, host } = said;
  const needed = (1 << Role.SCHEME) | (1 << Role.PATH);
  if ((pseudo & needed) !== needed) return bad("pseudo-fields");
  // Others name no HTTP message (RFC 9110 §4.2).
  if (scheme !== "http" && scheme !== "https") return bad(":scheme");
  const isPath = path.charCodeAt(0) === SLASH && (said.pathFlaws & Flaw.NOT_TARGET) === 0;
  if (!isPath && !(path === "*" && method === "OPTIONS")) return bad(":path");
  const named = authority ?? host;
  const place = named === undefined ? undefined : hostOf(named);
  if (place === undefined) return bad(":authority or Host");
  if (authority !== undefined && host !== undefined && host !== authority) {
    if (hostOf(host) !== place) return bad("Host disagrees with :authority");
  }
  return { target: path, authority: place };
}

const SLASH = 47;

/** RFC 9113 §8.5: host and port, nothing else. */
function connectPlaceOf(): Place | Failure {
  const { pseudo, authority, host } = said;
  if (pseudo !== CONNECT_PSEUDO) return bad("pseudo-fields of CONNECT");
  // Without Host it is as an old request to the rule of HTTP/1.
  const place = connectPlace(authority!, host, true);
  if (typeof place === "string") return bad(place);
  if (host !== undefined && hostOf(host) !== place.authority) {
    return failure("misdirected", "Host disagrees with the target");
  }
  return place;
}

/**
 * An answer, interim ones among them (status below 200), or `bad_answer`: a stream error PROTOCOL_ERROR.
 * @param method of the request as its head says it. @param upgrade what that asked to switch to, by an
 *   extended CONNECT: its 2xx becomes the 101 that it is in HTTP/1 (RFC 8441 §5).
 */
export function readAnswer(
  block: HeaderBlock,
  endStream: boolean,
  method: string,
  upgrade: string | undefined,
): AnswerHead | Failure {
  const problem = said.read(block);
  if (problem !== undefined) return badAnswer(problem);
  const { fields, length } = said;
  if (said.pseudo !== STATUS_ALONE) return badAnswer("pseudo-fields");
  const status = said.status.length === 3 ? contentLength(said.status) : -1;
  // RFC 9113 §8.6: nothing switches here but by CONNECT.
  if (status < 100 || status > 599 || status === 101) return badAnswer(":status");
  if (status < 200 && endStream) return badAnswer("an end after an interim answer");
  const mustBeEmpty = status < 200 || status === 204 || status === 205;
  if (mustBeEmpty && length > 0) return badAnswer(`body of a ${status}`);
  const switches = upgrade !== undefined && status >= 200 && status < 300;
  const tunnels = switches || opensTunnel(method, status);
  const bodyless = tunnels || mustBeEmpty || method === "HEAD" || status === 304;
  if (bodyless) {
    // For HEAD and 304 the length describes the body that is not sent.
    if (length >= 0 && !tunnels && status >= 200 && status !== 204) {
      fields.push("content-length", String(length));
    }
  } else if (endStream && length > 0) return badAnswer("a length without a body");
  return {
    status: switches ? 101 : status,
    reason: "",
    fields,
    body: bodyless || endStream ? 0 : length >= 0 ? length : BODY_UNKNOWN,
    upgrade: switches ? upgrade : undefined,
  };
}

/**
 * Trailers without what they must not set, undefined if nothing is left; or a failure of `kind`: a stream error
 * PROTOCOL_ERROR. That they end their stream is the caller's to see.
 */
export function readTrailers(
  block: HeaderBlock,
  kind: "bad_request" | "bad_answer",
): Fields | undefined | Failure {
  const problem = said.read(block);
  if (problem !== undefined) return failure(kind, `trailers: ${problem}`);
  const frames = said.length >= 0 || said.host !== undefined;
  if (said.pseudo !== 0 || frames) return failure(kind, "trailers: pseudo-fields or framing");
  return withoutForbidden(said.fields);
}

/** Tells what was read from what was refused. */
export function isRefused<T extends object | undefined>(value: T | Failure): value is Failure {
  return value !== undefined && "kind" in value;
}

function bad(detail: string): Failure {
  return failure("bad_request", detail);
}

function badAnswer(detail: string): Failure {
  return failure("bad_answer", detail);
}
