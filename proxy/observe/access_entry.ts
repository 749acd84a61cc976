import type { Millis } from "#kernel/brand.ts";
import type { Exchange } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";

/**
 * What is known of one request for the access log. Made when it comes, before anything is rewritten; the
 * rest is filled in on its way.
 */
export class AccessEntry {
  /** Not taken by the sampling: written only if it fails. */
  readonly sampled: boolean;
  readonly #exchange: Exchange;
  readonly #method: string;
  readonly #target: string;
  readonly #authority: string;
  readonly #startedAt: Millis;
  service = "";
  /** Address of the endpoint that answered, or was tried last. */
  upstream = "";
  locale = "";
  retries = 0;
  /** 0: none was sent. */
  status = 0;
  requestBytes = 0;
  answerBytes = 0;
  /** Why it failed; undefined: it did not. */
  failure: Failure | undefined = undefined;

  constructor(exchange: Exchange, sampled: boolean, now: Millis) {
    const { method, target, authority } = exchange.head;
    this.#exchange = exchange;
    this.#method = method;
    this.#target = target;
    this.#authority = authority;
    this.#startedAt = now;
    this.sampled = sampled;
  }

  /** Failures and answers that say so are always written. */
  get isDue(): boolean {
    return this.sampled || this.failure !== undefined || this.status >= 500;
  }

  /** Named after OpenTelemetry's semantic conventions for HTTP (1.27). @param wall Unix time, ms. */
  fields(now: Millis, wall: Millis): object {
    const { peer, listener, secure, raw, serverName, head } = this.#exchange;
    const { failure } = this;
    return {
      timestamp: new Date(wall).toISOString(),
      ...(raw ? { "network.protocol.name": "tcp" } : this.#httpFields()),
      "url.scheme": raw ? undefined : secure ? "https" : "http",
      "server.address": raw ? serverName : this.#authority || undefined,
      "client.address": peer.address,
      "client.id": peer.kind === "anonymous" ? undefined : peer.id,
      "http.server.request.duration": Number(((now - this.#startedAt) / 1_000).toFixed(6)),
      "http.request.body.size": this.requestBytes,
      "http.response.body.size": this.answerBytes,
      "espalier.listener": listener,
      "espalier.service": this.service || undefined,
      "espalier.locale": this.locale || undefined,
      "espalier.upstream": this.upstream || undefined,
      "espalier.retries": this.retries || undefined,
      "error.type": failure?.kind,
      "error.message": failure?.detail || undefined,
      "espalier.request_id": fieldValue(head.fields, "x-request-id"),
      trace_id: fieldValue(head.fields, "traceparent")?.slice(3, 35),
    };
  }

  #httpFields(): object {
    const mark = this.#target.indexOf("?");
    const path = mark < 0 ? this.#target : this.#target.slice(0, mark);
    const { fields } = this.#exchange.head;
    return {
      "network.protocol.name": "http",
      "network.protocol.version": this.#exchange.httpVersion,
      "http.request.method": this.#method,
      // A tunnel's target is `server.address`.
      "url.path": this.#method === "CONNECT" ? undefined : path,
      "url.query": mark < 0 ? undefined : this.#target.slice(mark + 1),
      "http.response.status_code": this.status || undefined,
      "user_agent.original": fieldValue(fields, "user-agent"),
    };
  }
}

/** A line for a request that the codec refused: there is no head that could be believed. */
export function refusedFields(
  about: { readonly listener: string; readonly address: string; readonly status: number },
  failure: Failure,
  wall: Millis,
): object {
  return {
    timestamp: new Date(wall).toISOString(),
    "client.address": about.address,
    "http.response.status_code": about.status || undefined,
    "espalier.listener": about.listener,
    "error.type": failure.kind,
    "error.message": failure.detail || undefined,
  };
}
