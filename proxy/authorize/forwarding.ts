import type { Fields } from "#proxy/exchange/exchange.ts";
import type { Peer } from "#proxy/exchange/peer.ts";

/** Fields that say where a request came from. Only a proxy that was there may say it. */
const FORWARDING: ReadonlySet<string> = new Set([
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-real-ip",
]);

/**
 * Says who asked, for what host, and by whom it passed (`Via`, RFC 9110 §7.6.3). What an anonymous client
 * says of it is removed; what a proxy of the mesh has said stays, for it saw the client.
 * @param authority as the client sent it.
 * @param self name of this proxy: its cluster.
 */
export function setForwarding(fields: Fields, peer: Peer, authority: string, self: string): void {
  if (peer.kind === "anonymous") {
    removeForwarding(fields);
    if (peer.address !== "") fields.push("x-forwarded-for", withoutMapping(peer.address));
    fields.push("x-forwarded-proto", "http", "x-forwarded-host", authority);
  }
  fields.push("via", `1.1 ${self}`);
}

function removeForwarding(fields: Fields): void {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    // "x" or "f" first: almost every other name fails here.
    const first = name.charCodeAt(0);
    if ((first === 120 || first === 102) && FORWARDING.has(name)) continue;
    if (kept !== i) {
      fields[kept] = name;
      fields[kept + 1] = fields[i + 1]!;
    }
    kept += 2;
  }
  fields.length = kept;
}

/** An IPv4 client of an IPv6 socket is an IPv4 client: `::ffff:10.0.0.1` is `10.0.0.1`. */
function withoutMapping(address: string): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}
