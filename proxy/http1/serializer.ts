import {
  type AnswerHead,
  BODY_UNKNOWN,
  type Fields,
  opensTunnel,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";

/** RFC 9110 §15 and the IANA registry; used where an answer brings no phrase of its own. */
const PHRASES: Readonly<Record<number, string>> = {
  100: "Continue",
  101: "Switching Protocols",
  103: "Early Hints",
  200: "OK",
  204: "No Content",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  414: "URI Too Long",
  417: "Expectation Failed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  508: "Loop Detected",
};

/** Status lines already written once: there are few. */
const STATUS_LINES = new Map<number, string>();

function statusLine(status: number, reason: string): string {
  if (reason !== "" && reason !== PHRASES[status]) return `HTTP/1.1 ${status} ${reason}\r\n`;
  let line = STATUS_LINES.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${PHRASES[status] ?? ""}\r\n`;
    STATUS_LINES.set(status, line);
  }
  return line;
}

/** How an answer's body is framed on an HTTP/1 connection. */
export type AnswerFraming = "none" | "length" | "chunked" | "close" | "tunnel";

/** How the answer `head` to a request of `method` is framed. @param old the client speaks HTTP/1.0. */
export function framingOf(head: AnswerHead, method: string, old: boolean): AnswerFraming {
  const { status, body } = head;
  if (opensTunnel(method, status)) return "tunnel";
  if (method === "HEAD" || status === 204 || status === 304) return "none";
  if (body >= 0) return "length";
  return old ? "close" : "chunked";
}

/** What an answer says of its connection; HTTP/1.1 keeps one without a word, HTTP/1.0 wants to be told. */
export type Persistence = "" | "close" | "keep-alive";

/** @param persistence what this connection will do after the answer. */
export function answerText(
  head: AnswerHead,
  framing: AnswerFraming,
  persistence: Persistence,
): string {
  let text = statusLine(head.status, head.reason) + fieldsText(head.fields);
  if (framing === "tunnel") return text + switchText(head.upgrade);
  if (framing === "length") text += `content-length: ${head.body}\r\n`;
  else if (framing === "chunked") text += "transfer-encoding: chunked\r\n";
  return persistence === "" ? `${text}\r\n` : `${text}connection: ${persistence}\r\n\r\n`;
}

/** An answer to CONNECT switches to nothing that has a name. */
function switchText(upgrade: string | undefined): string {
  return upgrade === undefined ? "\r\n" : `connection: upgrade\r\nupgrade: ${upgrade}\r\n\r\n`;
}

/** An interim answer: no framing, no connection. */
export function interimText(status: number, fields: Fields): string {
  return `${statusLine(status, "")}${fieldsText(fields)}\r\n`;
}

/** A request's head as it goes to an endpoint. */
export function requestText(head: RequestHead): string {
  let text = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n${fieldsText(head.fields)}`;
  if (head.upgrade !== undefined) text += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
  // Of this connection alone, so that it has to be named (RFC 9110 §10.1.4).
  if (head.takesTrailers) text += "te: trailers\r\nconnection: te\r\n";
  if (head.body > 0) return `${text}content-length: ${head.body}\r\n\r\n`;
  if (head.body === BODY_UNKNOWN) return `${text}transfer-encoding: chunked\r\n\r\n`;
  return saysNoBody(head.method) ? `${text}content-length: 0\r\n\r\n` : `${text}\r\n`;
}

/** RFC 9110 §8.6: methods that usually have a body say that this one has none. */
export function saysNoBody(method: string): boolean {
  return method === "POST" || method === "PUT" || method === "PATCH";
}

/** Names and values were validated by the parser that made them, or are our own. */
function fieldsText(fields: Fields): string {
  let text = "";
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return text;
}

/** The end of a chunked body. */
export function lastChunkText(trailers: Fields | undefined): string {
  return trailers === undefined ? "0\r\n\r\n" : `0\r\n${fieldsText(trailers)}\r\n`;
}

/** The line before a chunk of `length` bytes. */
export function chunkLineText(length: number): string {
  return `${length.toString(16)}\r\n`;
}
