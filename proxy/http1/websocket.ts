import { createHash, randomBytes } from "node:crypto";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

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

/** A request's fields with a key: an HTTP/2 client has sent none. */
export function withWebSocketKey(fields: Fields): Fields {
  if (fieldValue(fields, KEY) !== undefined) return fields;
  return [...fields, KEY, randomBytes(16).toString("base64")];
}

/** An answer's fields with the proof that the client's key asks for: an HTTP/2 endpoint has sent none. */
export function withWebSocketAccept(fields: Fields, asked: Fields): Fields {
  const key = fieldValue(asked, KEY);
  if (key === undefined || fieldValue(fields, ACCEPT) !== undefined) return fields;
  const proof = createHash("sha1")
    .update(key + GUID)
    .digest("base64");
  return [...fields, ACCEPT, proof];
}

/** An answer's fields without a proof that nobody has asked for. */
export function withoutWebSocketAccept(fields: Fields, asked: Fields): Fields {
  if (fieldValue(asked, KEY) !== undefined) return fields;
  const kept: Fields = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== ACCEPT) kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}
