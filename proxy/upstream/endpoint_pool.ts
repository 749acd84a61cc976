import { LinkedList } from "#kernel/linked_list.ts";
import type { Endpoint } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type ConnectionOwner, UpstreamConnection } from "#proxy/http1/upstream.ts";
import { ConnectionPool } from "#proxy/upstream/connection_pool.ts";
import type { Dialling } from "#proxy/upstream/dial.ts";
import { RefusedStream } from "#proxy/upstream/refused_stream.ts";
import type { WaitingRequest } from "#proxy/upstream/waiting_request.ts";

/**
 * The connections to one endpoint, each of which carries one request at a time: a stack of idle ones, the newest
 * first, and a line of requests that found all of them busy. Somebody waits only while as many connections
 * are open as may be.
 */
export class EndpointPool extends ConnectionPool<UpstreamConnection> implements ConnectionOwner {
  readonly protocol = "http/1.1";
  readonly #idle = new LinkedList<UpstreamConnection>();
  /** An idle connection was dead: the others may be as well, so the next request gets a new one. */
  #distrusted = false;

  get idle(): number {
    return this.#idle.size;
  }

  open(endpoint: Endpoint, head: RequestHead, sink: AnswerSink, atOnce: boolean): UpstreamStream {
    const idle = this.#distrusted ? undefined : this.#idle.pop();
    if (idle !== undefined) {
      this.#begin(idle, head, sink);
      return idle;
    }
    if (this.all.size >= this.policy.connectionsMax && !atOnce) {
      return this.#openWhenFull(endpoint, head, sink);
    }
    this.#distrusted = false;
    const made = this.connect(endpoint);
    if (!(made instanceof UpstreamConnection)) return new RefusedStream(made, sink);
    this.#begin(made, head, sink);
    return made;
  }

  // ── of its connections ──

  onIdle(connection: UpstreamConnection): void {
    if (this.all.size > this.policy.connectionsMax) {
      connection.retire("limit");
      return;
    }
    const next = this.waiting.next();
    if (next === undefined && this.retired) connection.retire("retired");
    else if (next === undefined) this.#idle.push(connection);
    else this.carry(connection, next);
  }

  onStale(): void {
    this.#distrusted = true;
  }

  override onClosed(connection: UpstreamConnection): void {
    this.#idle.remove(connection);
    super.onClosed(connection);
  }

  #openWhenFull(endpoint: Endpoint, head: RequestHead, sink: AnswerSink): UpstreamStream {
    // Not trusted, but better than waiting for nobody: an idle one serves no other request.
    const idle = this.#idle.pop();
    if (idle === undefined) return this.wait(endpoint, head, sink);
    this.#begin(idle, head, sink);
    return idle;
  }

  /** Running requests keep their connections; idle ones beyond the limit go. */
  protected shrink(): void {
    while (this.all.size > this.policy.connectionsMax && this.#idle.size > 0) {
      this.#idle.shift()!.retire("limit");
    }
  }

  protected serve(): void {
    // Nobody waits here beside an idle one, but who has waited elsewhere may come to it.
    while (this.waiting.size > 0 && this.#idle.size > 0) {
      this.carry(this.#idle.pop()!, this.waiting.next()!);
    }
    while (this.all.size < this.policy.connectionsMax) {
      const request = this.waiting.next();
      if (request === undefined) return;
      const made = this.connect(request.endpoint);
      if (made instanceof UpstreamConnection) this.carry(made, request);
      else request.fail(made);
    }
  }

  protected carry(connection: UpstreamConnection, request: WaitingRequest): void {
    this.#begin(connection, request.head, request.sink);
    request.begin(connection);
  }

  #begin(connection: UpstreamConnection, head: RequestHead, sink: AnswerSink): void {
    connection.begin(head, sink);
    this.count(connection);
  }

  protected make(_endpoint: Endpoint, dialling: Dialling): UpstreamConnection {
    const { wheel, limits, counters } = this.options;
    const { connectTimeoutMs } = this.policy;
    return new UpstreamConnection({
      ...dialling,
      ...{ owner: this, wheel, limits, connectTimeoutMs, counters },
    });
  }
}
