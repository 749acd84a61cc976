import type { Millis } from "#kernel/brand.ts";
import type { Clock } from "#kernel/clock.ts";
import { sourceOfRequest } from "#proxy/authorize/forwarding.ts";
import type { EndpointState } from "#proxy/balance/endpoint_state.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { bounded, FIELD_CHARS_MAX, lineOf, type Width } from "#proxy/observe/access_line.ts";
import type { AccessLog } from "#proxy/observe/access_log.ts";

/** Methods that OpenTelemetry calls known: RFC 9110, PATCH and QUERY. */
const METHODS: ReadonlySet<string> = new Set(
  "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY".split(" "),
);
/** Values that let their reader in somewhere; OpenTelemetry lists them, and AWS's newer ones are of their kind. */
const SECRETS =
  /((?:^|&)(?:AWSAccessKeyId|Signature|sig|X-Goog-Signature|X-Amz-Signature|X-Amz-Security-Token)=)[^&]*/gi;
const TRACE_ID = /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/;

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
    this.requestBytes = 0;
    this.answerBytes = 0;
    this.failure = undefined;
  }

  /** The request is over; it is written down if it was sampled or has failed. */
  end(log: AccessLog | undefined, clock: Clock): void {
    if (this.#sampled || this.failure !== undefined || this.status >= 500) {
      log?.write(lineOf((width) => this.#fields(width, clock.now(), clock.wall())));
    }
    // Slices of the head: they would keep it as long as the connection.
    this.#method = "";
    this.#target = "";
    this.#authority = "";
    this.failure = undefined;
    this.endpoint = undefined;
  }

  /** Named after OpenTelemetry's semantic conventions for HTTP (1.27). */
  #fields(width: Width, now: Millis, wall: Millis): object {
    const { peer, listener, raw, serverName, head } = this.#exchange;
    const { failure, endpoint, status } = this;
    const cut = (text: string | undefined): string | undefined => bounded(text, width);
    const source = sourceOfRequest(this.#exchange);
    const isTunnel = raw || status === 101;
    const seconds = Number(((now - this.#startedAt) / 1_000).toFixed(6));
    const host = raw ? { name: serverName, port: undefined } : splitHost(this.#authority);
    const http = raw ? NO_HTTP : this.#httpFields(cut);
    const trace = fieldValue(head.fields, "traceparent");
    return {
      timestamp: new Date(wall).toISOString(),
      "network.protocol.name": raw ? "tcp" : "http",
      ...http,
      "server.address": cut(host.name),
      "server.port": host.port,
      "client.address": cut(source.client),
      "network.peer.address": source.client === source.peer ? undefined : source.peer,
      "http.server.request.duration": raw ? undefined : seconds,
      "http.request.body.size": isTunnel ? undefined : this.requestBytes,
      "http.response.body.size": isTunnel ? undefined : this.answerBytes,
      "error.type": failure?.kind ?? (status >= 500 ? String(status) : undefined),
      "error.message": cut(failure?.detail || undefined),
      "http.request.resend_count": this.resends || undefined,
      "espalier.duration": raw ? seconds : undefined,
      "espalier.bytes_received": isTunnel ? this.requestBytes : undefined,
      "espalier.bytes_sent": isTunnel ? this.answerBytes : undefined,
      "espalier.listener": listener,
      "espalier.service": this.service || undefined,
      "espalier.locale": endpoint?.locale.cluster,
      "espalier.upstream": endpoint && placeText(endpoint),
      "espalier.peer_id": peer.kind === "anonymous" ? undefined : cut(peer.id),
      "espalier.request_id": cut(fieldValue(head.fields, "x-request-id")),
      trace_id: trace === undefined ? undefined : TRACE_ID.exec(trace)?.[1],
    };
  }

  #httpFields(cut: (text: string | undefined) => string | undefined): object {
    const { secure, head, httpVersion } = this.#exchange;
    const target = this.#target;
    const mark = target.indexOf("?");
    const isKnown = METHODS.has(this.#method);
    return {
      "network.protocol.version": httpVersion,
      "http.request.method": isKnown ? this.#method : "_OTHER",
      "http.request.method_original": isKnown ? undefined : cut(this.#method),
      "url.scheme": secure ? "https" : "http",
      // A tunnel's target is `server.address`.
      "url.path":
        this.#method === "CONNECT" ? undefined : cut(mark < 0 ? target : target.slice(0, mark)),
      "url.query": mark < 0 ? undefined : cut(withoutSecrets(target.slice(mark + 1))),
      "http.response.status_code": this.status || undefined,
      "user_agent.original": cut(fieldValue(head.fields, "user-agent")),
    };
  }
}

const NO_HTTP = {};

/** The line of a request that the codec refused: there is no head that could be believed. */
export function refusedLine(
  about: { readonly listener: string; readonly client: string; readonly status: number },
  failure: Failure,
  wall: Millis,
): string {
  return lineOf((width) => ({
    timestamp: new Date(wall).toISOString(),
    "network.protocol.name": "http",
    "client.address": about.client,
    "http.response.status_code": about.status || undefined,
    "error.type": failure.kind,
    "error.message": bounded(failure.detail || undefined, width),
    "espalier.listener": about.listener,
  }));
}

/** The secret may be cut off by the bound, its name never: so it is hidden before. */
function withoutSecrets(query: string): string {
  const looked = query.length > FIELD_CHARS_MAX ? query.slice(0, FIELD_CHARS_MAX) : query;
  return looked.replace(SECRETS, "$1REDACTED");
}

/** `shop.example:8080`, `[::1]:80`, `shop.example`. */
function splitHost(authority: string): { name: string | undefined; port: number | undefined } {
  const found = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(authority);
  if (found === null) return { name: authority || undefined, port: undefined };
  const name = found[1] ?? found[2];
  return { name: name || undefined, port: found[3] === undefined ? undefined : Number(found[3]) };
}

function placeText({ endpoint: { address, port } }: EndpointState): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
