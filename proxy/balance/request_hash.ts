import type { KeySource } from "#model/traffic_policy.ts";
import { hashText } from "#proxy/balance/hash.ts";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { cookieOf, fieldValue } from "#proxy/exchange/fields.ts";
import type { Peer } from "#proxy/exchange/peer.ts";

/** Whose request it is. */
export interface RequestOrigin {
  readonly head: RequestHead;
  readonly peer: Peer;
  /** What a hop says of the caller: SPIFFE ids, the workload's first; "": nothing. */
  readonly caller: string;
}

/**
 * What tells clients apart, as `source` has it; undefined: this request has nothing of the kind. The same at every gateway
 * that the request passes.
 */
export function keyOf(source: KeySource, origin: RequestOrigin): string | undefined {
  const { head, peer, caller } = origin;
  switch (source.type) {
    case "Header":
      return notEmpty(fieldValue(head.fields, source.name.toLowerCase()));
    case "Cookie":
      return notEmpty(cookieOf(fieldValue(head.fields, "cookie"), source.name));
    case "QueryParameter":
      return parameterIn(head.target, source.name);
    case "SourceAddress":
      return notEmpty(addressOf(head.fields, peer));
    case "Caller":
      return notEmpty(callerOf(caller, peer)) ?? notEmpty(addressOf(head.fields, peer));
    default:
      return source satisfies never;
  }
}

/** 32 bits of `keyOf`, alike in every proxy. */
export function hashOf(source: KeySource, origin: RequestOrigin): number | undefined {
  const key = keyOf(source, origin);
  return key === undefined ? undefined : hashText(key);
}

function callerOf(caller: string, peer: Peer): string {
  if (caller !== "") return caller.split(",", 1)[0]!;
  return peer.kind === "workload" ? peer.id : "";
}

/**
 * The client's address. The proxy that met it has written the list, and a balancer in front that is trusted stands
 * last in it: who it has seen stands before. Nothing is believed of others, whose list was removed.
 */
function addressOf(fields: Fields, peer: Peer): string {
  const list = fieldValue(fields, "x-forwarded-for");
  if (list === undefined) return forwardedFor(fields) ?? peer.address;
  const last = list.lastIndexOf(",");
  const from = last < 0 ? 0 : list.lastIndexOf(",", last - 1) + 1;
  return list.slice(from, last < 0 ? undefined : last).trim();
}

/** Of a connection that is passed on whole: the proxy that met its client has said so (RFC 7239). */
function forwardedFor(fields: Fields): string | undefined {
  const said = fieldValue(fields, "forwarded");
  return said === undefined ? undefined : /^for="\[?([0-9a-fA-F:.]+?)\]?:\d+"$/.exec(said)?.[1];
}

/** As it stands in the target: equal clients write it equally. */
function parameterIn(target: string, name: string): string | undefined {
  const query = target.indexOf("?");
  if (query < 0) return undefined;
  for (const pair of target.slice(query + 1).split("&")) {
    const equals = pair.indexOf("=");
    if (equals > 0 && pair.slice(0, equals) === name) return notEmpty(pair.slice(equals + 1));
  }
  return undefined;
}

function notEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
