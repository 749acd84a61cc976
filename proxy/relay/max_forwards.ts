import type { Fields } from "#proxy/exchange/exchange.ts";

/**
 * Counts this proxy among those that an OPTIONS may pass (RFC 9110 §7.6.2).
 * `last`: it goes no further and is answered here.
 */
export function countForward(fields: Fields): "pass" | "last" | "malformed" {
  let place = -1;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== "max-forwards") continue;
    if (place >= 0) return "malformed";
    place = i + 1;
  }
  if (place < 0) return "pass";
  const value = fields[place]!;
  if (!/^[0-9]{1,9}$/.test(value)) return "malformed";
  const left = Number(value);
  if (left === 0) return "last";
  fields[place] = String(left - 1);
  return "pass";
}
