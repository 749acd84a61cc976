import type { Exchange, Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue, removeFields } from "#proxy/exchange/fields.ts";
import { idOf, type TraceIds } from "#proxy/observe/trace_ids.ts";

/** Fields that say where a request came from. Only a proxy that was there may say it. */
const FORWARDING: ReadonlySet<string> = new Set([
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-real-ip",
  "x-request-id",
]);
const REPLACED: ReadonlySet<string> = new Set(["traceparent", "tracestate"]);
/** W3C Trace Context §3.2. All zeros name nothing. */
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)/;

/**
 * Says who asked, for what host, and by whom it passed (`Via`, RFC 9110 §7.6.3). What a client says of it is
 * removed unless its address is trusted; what a proxy of the mesh has said stays, for it saw the client.
 * A trace is joined as it is, for the proxy is no span of its own; where there is none, one begins.
 * @param self name of this proxy: its cluster.
 */
export function setForwarding(exchange: Exchange, self: string, ids: TraceIds): void {
  const { head, peer } = exchange;
  const { fields } = head;
  const said = survey(fields);
  // A trace that begins here has the request's id: one to look for.
  const parent = said.traced ? undefined : ids.nextParent();
  if (peer.kind === "anonymous") {
    if (said.any && !peer.trusted) removeFields(fields, FORWARDING);
    const kept = said.any && peer.trusted ? said : NOTHING;
    describeClient(exchange, peer, kept);
    if (kept.requestId < 0) {
      fields.push("x-request-id", parent === undefined ? ids.next() : idOf(parent));
    }
  }
  if (parent !== undefined) {
    if (said.tracing) removeFields(fields, REPLACED);
    fields.push("traceparent", parent);
  }
  fields.push("via", `${exchange.httpVersion} ${self}`);
}

interface Said {
  /** One of the fields is there. */
  any: boolean;
  /** Places of values; -1: not there. */
  forwardedFor: number;
  forwarded: number;
  proto: number;
  host: number;
  requestId: number;
  /** A trace can be joined. */
  traced: boolean;
  /** There is a `traceparent`, be it good or not. */
  hasParent: boolean;
  /** Something is said of a trace. */
  tracing: boolean;
}

const NOTHING: Readonly<Said> = {
  any: false,
  forwardedFor: -1,
  forwarded: -1,
  proto: -1,
  host: -1,
  requestId: -1,
  traced: false,
  hasParent: false,
  tracing: false,
};
const PLACES: Readonly<
  Record<string, "forwardedFor" | "forwarded" | "proto" | "host" | "requestId">
> = {
  "x-forwarded-for": "forwardedFor",
  forwarded: "forwarded",
  "x-forwarded-proto": "proto",
  "x-forwarded-host": "host",
  "x-request-id": "requestId",
};

/** One pass over the fields. A trace told twice is none. */
function survey(fields: Fields): Readonly<Said> {
  let said: Said | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    // "f", "t" or "x" first: almost every other name fails here.
    const first = name.charCodeAt(0);
    if (first !== 120 && first !== 116 && first !== 102) continue;
    if (FORWARDING.has(name)) {
      said ??= { ...NOTHING };
      said.any = true;
      const place = PLACES[name];
      if (place !== undefined) said[place] = i + 1;
    } else if (REPLACED.has(name)) {
      said ??= { ...NOTHING };
      said.tracing = true;
      if (name !== "traceparent") continue;
      said.traced = !said.hasParent && isTrace(fields[i + 1]!);
      said.hasParent = true;
    }
  }
  return said ?? NOTHING;
}

/** Later versions may say more at the end, 00 may not. */
function isTrace(value: string): boolean {
  const found = TRACEPARENT.exec(value);
  return found !== null && (found[1] !== "00" || found[2] === "");
}

function describeClient(
  { head, secure, policy }: Exchange,
  { address, port }: { readonly address: string; readonly port: number },
  said: Readonly<Said>,
): void {
  const { fields, authority } = head;
  const proto = secure ? "https" : "http";
  if (address !== "") add(fields, "x-forwarded-for", said.forwardedFor, address);
  if (said.proto < 0) fields.push("x-forwarded-proto", proto);
  if (said.host < 0) fields.push("x-forwarded-host", authority);
  if (!policy.forwarded || address === "") return;
  const node = address.includes(":") ? `[${address}]` : address;
  const host = authority === "" ? "" : `;host="${authority}"`;
  add(fields, "forwarded", said.forwarded, `for="${node}:${port}";proto=${proto}${host}`);
}

/** Appends to the list that is at `at`, or begins one. */
function add(fields: Fields, name: string, at: number, value: string): void {
  if (at < 0) fields.push(name, value);
  else fields[at] = `${fields[at]}, ${value}`;
}

/**
 * Who asked, for the log: whom the proxy next to us has seen, if it may say so. What stands before that in its
 * list is only what it was told.
 */
export function sourceOfRequest(exchange: Exchange): {
  readonly client: string;
  /** Who is at the other end of the connection. */
  readonly peer: string;
} {
  const { head, peer, raw } = exchange;
  const direct = peer.address;
  if (peer.kind === "anonymous" && !peer.trusted) return { client: direct, peer: direct };
  if (raw) return { client: sourceOf(head.fields)?.address ?? direct, peer: direct };
  const list = fieldValue(head.fields, "x-forwarded-for")?.split(",") ?? [];
  // We have added the peer itself.
  const client = list.map((one) => one.trim()).findLast((one) => one !== direct && one !== "");
  return { client: client ?? direct, peer: direct };
}

/** Says on the way of a connection who its client is: address and port (RFC 7239). */
export function markSource({ head, peer }: Pick<Exchange, "head" | "peer">): void {
  if (peer.kind !== "anonymous" || peer.address === "") return;
  const { address } = peer;
  const node = address.includes(":") ? `[${address}]` : address;
  head.fields.push("forwarded", `for="${node}:${peer.port}"`);
}

/** What `markSource` said, here or at the first gateway. */
export function sourceOf(fields: Fields): { address: string; port: number } | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== "forwarded") continue;
    const found = /^for="(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):(\d{1,5})"$/.exec(fields[i + 1]!);
    if (found === null) return undefined;
    return { address: (found[1] ?? found[2])!, port: Number(found[3]) };
  }
  return undefined;
}
