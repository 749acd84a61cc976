import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { sourceOfRequest } from "#proxy/authorize/forwarding.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import { type Exchange, opensTunnel } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { GRPC_STATUS_NAMES, isEndpointsFault } from "#proxy/exchange/grpc.ts";
import { type AccessLine, FIELD_CHARS_MAX, lineOf } from "#proxy/observe/access_line.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";

/** Methods that OpenTelemetry calls known: RFC 9110, PATCH and QUERY. */
const METHODS: ReadonlySet<string> = new Set(
  "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY".split(" "),
);
/** Values that let their reader in somewhere; OpenTelemetry lists them, and AWS's newer ones are of their kind. */
const SECRETS =
  /((?:^|&)(?:AWSAccessKeyId|Signature|sig|X-Goog-Signature|X-Amz-Signature|X-Amz-Security-Token)=)[^&]*/gi;
const TRACE_ID = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;

/**
 * What is known of a running request for the access log. A connection has one and uses it again for each
 * request: nothing is made per request, and no text before it is clear that a line is due.
 */
export class AccessEntry {
  readonly #exchange: Exchange;
  /** Not taken by the sampling: written only if it fails. */
  #sampled = false;
  /** As the client has asked, whatever is rewritten later. */
  #method = "";
  #target = "";
  #authority = "";
  #startedAt: Millis = 0;
  service = "";
  /** The endpoint that answered, or was tried last. */
  endpoint: EndpointState | undefined = undefined;
  resends = 0;
  /** 0: none was sent. */
  status = 0;
  /** Of a call of gRPC; undefined: it is none, or has no status. */
  grpcStatus: number | undefined = undefined;
  requestBytes = 0;
  answerBytes = 0;
  /** Why it failed; undefined: it did not. */
  failure: Failure | undefined = undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** When a request has come, before anything is rewritten. */
  begin(sampled: boolean, now: Millis): void {
    const { method, target, authority } = this.#exchange.head;
    this.#sampled = sampled;
    this.#method = method;
    this.#target = target;
    this.#authority = authority;
    this.#startedAt = now;
    this.service = "";
    this.endpoint = undefined;
    this.resends = 0;
    this.status = 0;
    this.grpcStatus = undefined;
    this.requestBytes = 0;
    this.answerBytes = 0;
    this.failure = undefined;
  }

  /** The request is over; it is written down if it was sampled or has failed. */
  end(log: AccessLog | undefined, clock: Clock): void {
    if (this.#sampled || this.#hasFailed) {
      log?.write(lineOf(clock.wall(), (line) => this.#fill(line, clock.now())));
    }
    // Slices of the head: they would keep it as long as the connection.
    this.#method = "";
    this.#target = "";
    this.#authority = "";
  }

  get #hasFailed(): boolean {
    if (this.failure !== undefined || this.status >= 500) return true;
    return this.grpcStatus !== undefined && isEndpointsFault(this.grpcStatus);
  }

  /** Named after OpenTelemetry's semantic conventions for HTTP and gRPC (1.27). */
  #fill(line: AccessLine, now: Millis): void {
    const { peer, listener, raw, serverName, head } = this.#exchange;
    const { failure, endpoint, status } = this;
    line.text("network.protocol.name", raw ? "tcp" : "http");
    if (raw) line.text("server.address", serverName);
    else this.#fillHttp(line);
    const source = sourceOfRequest(this.#exchange);
    line.text("client.address", source.client);
    if (source.client !== source.peer) line.text("network.peer.address", source.peer);
    const seconds = Math.round((now - this.#startedAt) * 1_000) / 1e6;
    line.number(raw ? "espalier.duration" : "http.server.request.duration", seconds);
    const isTunnel = raw || opensTunnel(this.#method, status);
    line.number(isTunnel ? "espalier.bytes_received" : "http.request.body.size", this.requestBytes);
    line.number(isTunnel ? "espalier.bytes_sent" : "http.response.body.size", this.answerBytes);
    if (failure !== undefined) line.text("error.type", failure.kind);
    else if (status >= 500) line.text("error.type", String(status));
    else if (this.#hasFailed) line.text("error.type", GRPC_STATUS_NAMES[this.grpcStatus!]);
    line.text("error.message", failure?.detail);
    if (this.resends > 0) line.number("http.request.resend_count", this.resends);
    line.text("espalier.listener", listener);
    line.text("espalier.service", this.service);
    line.text("espalier.locale", endpoint?.locale.cluster);
    line.text("espalier.upstream", endpoint && placeText(endpoint));
    if (peer.kind !== "anonymous") line.text("espalier.peer_id", peer.id);
    line.text("espalier.request_id", fieldValue(head.fields, "x-request-id"));
    const trace = fieldValue(head.fields, "traceparent");
    if (trace !== undefined) line.text("trace_id", TRACE_ID.exec(trace)?.[1]);
  }

  #fillHttp(line: AccessLine): void {
    const { secure, head, httpVersion } = this.#exchange;
    line.text("network.protocol.version", httpVersion);
    if (METHODS.has(this.#method)) line.text("http.request.method", this.#method);
    else {
      line.text("http.request.method", "_OTHER");
      line.text("http.request.method_original", this.#method);
    }
    line.text("url.scheme", secure ? "https" : "http");
    const target = this.#target;
    const mark = target.indexOf("?");
    // A tunnel's target is `server.address`.
    if (this.#method !== "CONNECT") {
      line.text("url.path", mark < 0 ? target : target.slice(0, mark));
    }
    if (mark >= 0) line.text("url.query", withoutSecrets(target.slice(mark + 1)));
    fillHost(line, this.#authority);
    if (this.status > 0) line.number("http.response.status_code", this.status);
    if (this.grpcStatus !== undefined) line.number("rpc.grpc.status_code", this.grpcStatus);
    line.text("user_agent.original", fieldValue(head.fields, "user-agent"));
  }
}

/** The line of a request that the codec refused: there is no head that could be believed. */
export function refusedLine(
  about: { readonly listener: string; readonly client: string; readonly status: number },
  failure: Failure,
  wall: Millis,
): string {
  return lineOf(wall, (line) => {
    line.text("network.protocol.name", "http");
    line.text("client.address", about.client);
    if (about.status > 0) line.number("http.response.status_code", about.status);
    line.text("error.type", failure.kind);
    line.text("error.message", failure.detail);
    line.text("espalier.listener", about.listener);
  });
}

/** The secret may be cut off by the bound, its name never: so it is hidden before. */
function withoutSecrets(query: string): string {
  const looked = query.length > FIELD_CHARS_MAX ? query.slice(0, FIELD_CHARS_MAX) : query;
  return looked.replace(SECRETS, "$1REDACTED");
}

/** `shop.example:8080`, `[::1]:80`, `shop.example`. */
function fillHost(line: AccessLine, authority: string): void {
  const colon = authority.lastIndexOf(":");
  const isPort = colon > authority.lastIndexOf("]") && /^\d{1,5}$/.test(authority.slice(colon + 1));
  const host = isPort ? authority.slice(0, colon) : authority;
  const isLiteral = host.startsWith("[") && host.endsWith("]");
  line.text("server.address", isLiteral ? host.slice(1, -1) : host);
  if (isPort) line.number("server.port", Number(authority.slice(colon + 1)));
}

function placeText({ endpoint: { address, port } }: EndpointState): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
