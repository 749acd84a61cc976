/*
 * DER (X.690), the strict subset that certificates use. Own code since neither Node nor OpenSSL lets us
 * see what we must judge: key usage, name constraints, the exact bytes of a name.
 */

/** One TLV. `from`–`to` is its content, `start`–`to` includes the header. */
export interface Der {
  readonly tag: number;
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

/** Thrown by the reader and caught by `parseCertificate`: the input is not DER. */
export class DerError extends Error {}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The element at `at`, which must end by `end`. Lengths are definite and minimal. */
export function readDer(bytes: Uint8Array, at: number, end: number): Der {
  if (at + 2 > end) throw new DerError("truncated");
  const tag = bytes[at]!;
  if ((tag & 0x1f) === 0x1f) throw new DerError("long tag");
  let from = at + 2;
  let length = bytes[at + 1]!;
  if (length === 0x80 || length > 0x83) throw new DerError("length");
  if (length > 0x80) {
    const count = length - 0x80;
    if (from + count > end) throw new DerError("truncated");
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + bytes[from + i]!;
    if (length < 0x80 || bytes[from] === 0) throw new DerError("length not minimal");
    from += count;
  }
  if (from + length > end) throw new DerError("truncated");
  return { tag, start: at, from, to: from + length };
}

/** As `readDer`, and it must have this tag. */
export function expectDer(bytes: Uint8Array, at: number, end: number, tag: number): Der {
  const der = readDer(bytes, at, end);
  if (der.tag !== tag) throw new DerError(`tag ${der.tag} where ${tag} must be`);
  return der;
}

/** The elements inside `der`, without a byte between or after them. */
export function childrenOf(bytes: Uint8Array, der: Der): Der[] {
  const children: Der[] = [];
  for (let at = der.from; at < der.to; ) {
    const child = readDer(bytes, at, der.to);
    children.push(child);
    at = child.to;
  }
  return children;
}

/** Dotted text of an OID. */
export function oidText(bytes: Uint8Array, der: Der): string {
  if (der.tag !== TAG.oid || der.from === der.to) throw new DerError("OID");
  const arcs: number[] = [];
  let arc = 0;
  for (let at = der.from; at < der.to; at++) {
    arc = arc * 128 + (bytes[at]! & 0x7f);
    if (arc > 2 ** 40) throw new DerError("OID arc");
    if (bytes[at]! & 0x80) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(arc / 40));
      arcs.push(first, arc - 40 * first);
    } else arcs.push(arc);
    arc = 0;
  }
  if (bytes[der.to - 1]! & 0x80) throw new DerError("OID cut");
  return arcs.join(".");
}

/** Epoch ms of a UTCTime or GeneralizedTime in the form of RFC 5280 §4.1.2.5: seconds, `Z`. */
export function timeOf(bytes: Uint8Array, der: Der): number {
  const text = asciiText(bytes, der);
  const utc = der.tag === TAG.utcTime;
  const match = (utc ? /^(\d\d)(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text);
  if (match === null || (!utc && der.tag !== TAG.generalizedTime)) throw new DerError("time");
  const short = Number(match[1]);
  const year = utc ? short + (short < 50 ? 2000 : 1900) : short;
  const part = (at: number): number => Number(match[2]!.slice(at, at + 2));
  return Date.UTC(year, part(0) - 1, part(2), part(4), part(6), part(8));
}

/** IA5 text: each byte one character, so nothing is lost or folded. */
export function asciiText(bytes: Uint8Array, der: Der): string {
  let text = "";
  for (let at = der.from; at < der.to; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}

/** A small non-negative INTEGER. */
export function smallInteger(bytes: Uint8Array, der: Der): number {
  if (der.tag !== TAG.integer || der.to - der.from !== 1 || bytes[der.from]! > 127) {
    throw new DerError("integer");
  }
  return bytes[der.from]!;
}

/** Writes one element. */
export function writeDer(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  const bytes = new Uint8Array(head.length + length);
  bytes.set(head);
  let at = head.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
