import type { Millis } from "#kernel/brand.ts";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { cookieOf, fieldValue } from "#proxy/exchange/fields.ts";

/*
 * Who wrote reads what it wrote: the answer to a write tells its client when that was, and a read that brings it along
 * goes to no replica whose data may be older. The client may keep it in its cookies or send the field by itself; it is
 * not signed, for it can only ask for fresher data.
 */

/** Name of the cookie, and of the field in answers and requests: milliseconds of Unix time, base 36. */
export const WRITTEN = "espalier-written";
/** Clocks of two gateways may differ by that much. */
const SKEW_MS: Millis = 1_000;

/**
 * How old what a read gets may be, so that it sees its client's last write, ms; Infinity: it has made none. A time that
 * is none, or to come, counts as now.
 */
export function agedSinceWrite(fields: Fields, wall: Millis): Millis {
  const text = fieldValue(fields, WRITTEN) ?? cookieOf(fieldValue(fields, "cookie"), WRITTEN);
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const at = /^[0-9a-z]{1,10}$/.test(text) ? Number.parseInt(text, 36) : wall;
  return Math.max(0, wall - at - SKEW_MS);
}

/**
 * Tells a client that it has written.
 * @param maxStalenessMs older than that no replica serves: then nobody need know any more.
 */
export function markWritten(
  answer: Fields,
  about: { readonly wall: Millis; readonly maxStalenessMs: Millis; readonly secure: boolean },
): void {
  const { wall, maxStalenessMs, secure } = about;
  const token = Math.ceil(wall).toString(36);
  const age = Math.ceil((maxStalenessMs + 2 * SKEW_MS) / 1_000);
  const safe = secure ? "; Secure" : "";
  answer.push(WRITTEN, token);
  answer.push(
    "set-cookie",
    `${WRITTEN}=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${age}${safe}`,
  );
}
