import { hasStrayBytes, type KnownName, nameAt } from "#proxy/http1/parser_fields.ts";
import { TARGET } from "#proxy/http1/parser_head.ts";

/** What a name means in HTTP/2. Numbers, for every field of every head is switched over them. */
export const Role = {
  END_TO_END: 0,
  METHOD: 1,
  SCHEME: 2,
  AUTHORITY: 3,
  PATH: 4,
  PROTOCOL: 5,
  STATUS: 6,
  HOST: 7,
  CONTENT_LENGTH: 8,
  TE: 9,
  EXPECT: 10,
  /** May come in pieces (RFC 9113 §8.2.3). */
  COOKIE: 11,
  /** Of no use beyond this hop, or forged: left out. */
  DROPPED: 12,
  /** No name, an unknown pseudo-field, or one of a connection (RFC 9113 §8.2): no message may have it. */
  MALFORMED: 13,
} as const;

/** One of `Role`. */
export type RoleNumber = (typeof Role)[keyof typeof Role];

/** RFC 9113 §8.3, RFC 8441 §4. */
const PSEUDO: ReadonlyMap<string, RoleNumber> = new Map([
  [":method", Role.METHOD],
  [":scheme", Role.SCHEME],
  [":authority", Role.AUTHORITY],
  [":path", Role.PATH],
  [":protocol", Role.PROTOCOL],
  [":status", Role.STATUS],
]);

const COLON = 58;

/** A name as everybody shares it, and its role. */
export interface FieldName {
  readonly name: string;
  readonly role: RoleNumber;
}

/** What a name in a header block is. */
export function fieldName(raw: string): FieldName {
  if (raw.charCodeAt(0) === COLON) return { name: raw, role: PSEUDO.get(raw) ?? Role.MALFORMED };
  const known = nameAt(raw, 0, raw.length);
  if (known === undefined) return { name: raw, role: Role.MALFORMED };
  return { name: known.name, role: roleOf(known) };
}

function roleOf({ raw, name, role }: KnownName): RoleNumber {
  // RFC 9113 §8.2.1: no capitals.
  if (raw !== name) return Role.MALFORMED;
  switch (role) {
    case "end_to_end":
      return name === "cookie" ? Role.COOKIE : Role.END_TO_END;
    case "host":
      return Role.HOST;
    case "content_length":
      return Role.CONTENT_LENGTH;
    case "te":
      return Role.TE;
    case "expect":
      return Role.EXPECT;
    case "transfer_encoding":
    case "connection":
    case "upgrade":
      return Role.MALFORMED;
    case "hop":
      return OF_CONNECTION.has(name) ? Role.MALFORMED : Role.DROPPED;
    default:
      return role satisfies never;
  }
}

/** RFC 9113 §8.2.2. */
const OF_CONNECTION: ReadonlySet<string> = new Set(["keep-alive", "proxy-connection"]);

/** Bits that say what is wrong with the characters of a value. */
export const Flaw = {
  /** A control character: no field may have it (RFC 9113 §8.2.1). */
  CONTROL: 1,
  /** A blank at one of its ends: no field may have it either. */
  EDGE: 2,
  /** One that no request target has. */
  NOT_TARGET: 4,
} as const;

/** The flaws of each byte, by the rules that HTTP/1 has. */
export const FLAWS = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return (
    (hasStrayBytes(character) ? Flaw.CONTROL : 0) | (TARGET.test(character) ? 0 : Flaw.NOT_TARGET)
  );
});
