import { createHash, randomBytes } from "node:crypto";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue, removeFields } from "#proxy/exchange/fields.ts";

/*
 * WebSocket's handshake has a nonce and its proof in HTTP/1.1 (RFC 6455 §4.2.2), and none in HTTP/2 (RFC 8441 §5).
 * Where one side has them and the other has not, they are made here.
 */

const KEY = "sec-websocket-key";
const ACCEPT = "sec-websocket-accept";
/** RFC 6455 §1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export function isWebSocket(upgrade: string | undefined): boolean {
  return upgrade !== undefined && upgrade.toLowerCase() === "websocket";
}

/** Gives the request of an HTTP/2 client a key. False: it has one, from an HTTP/1.1 client before another proxy. */
export function addWebSocketKey(fields: Fields): boolean {
  if (fieldValue(fields, KEY) !== undefined) return false;
  fields.push(KEY, randomBytes(16).toString("base64"));
  return true;
}

/** An answer's fields with the proof that the client's key asks for: an HTTP/2 endpoint has sent none. */
export function withWebSocketAccept(fields: Fields, asked: Fields): Fields {
  const key = webSocketKey(asked);
  if (key === undefined || fieldValue(fields, ACCEPT) !== undefined) return fields;
  return [...fields, ACCEPT, proofOf(key)];
}

/** The nonce of a request; undefined: it has none. */
export function webSocketKey(fields: Fields): string | undefined {
  return fieldValue(fields, KEY);
}

/** Whether a 101 proves that its endpoint has read this key (RFC 6455 §4.1): else it may not know what it says. */
export function provesKey(fields: Fields, key: string): boolean {
  return fieldValue(fields, ACCEPT) === proofOf(key);
}

function proofOf(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

const ACCEPT_ALONE: ReadonlySet<string> = new Set([ACCEPT]);

/** Takes out of an answer's fields the proof, which its client has not asked for. */
export function removeWebSocketAccept(fields: Fields): void {
  removeFields(fields, ACCEPT_ALONE);
}
