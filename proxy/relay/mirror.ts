import type { Millis } from "#kernel/brand.ts";
import { WheelItem } from "#kernel/timer_wheel.ts";
import type { Priority } from "#model/traffic_policy.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import type {
  AnswerHead,
  AnswerSink,
  Fields,
  RequestHead,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { grpcStatusOfAnswer } from "#proxy/exchange/grpc.ts";
import { removeDataFields } from "#proxy/relay/data_need.ts";
import { headFor } from "#proxy/relay/mesh_head.ts";
import {
  outcomeAtDeadline,
  outcomeOf,
  outcomeOfCall,
  outcomeOfStatus,
} from "#proxy/relay/outcome.ts";
import type { RelayPlan, RelayPorts, ServiceRuntime } from "#proxy/relay/plan.ts";
import { DEADLINE_DEFAULT_MS } from "#proxy/retry/deadline.ts";

const COPY: Priority = "sheddable";

/**
 * A copy of a request for a service whose answer nobody sees (Gateway API HTTPRequestMirrorFilter). It
 * is tried once and holds nobody up: if its endpoint reads more slowly than the real one, it is dropped.
 */
export class Mirror extends WheelItem implements AnswerSink {
  readonly #ports: RelayPorts;
  readonly #service: ServiceRuntime;
  readonly #startedAt: Millis;
  #endpoint: EndpointState | undefined = undefined;
  #stream: UpstreamStream | undefined = undefined;
  #firstByteMs: Millis = 0;
  #status = 0;
  #isCall = false;
  /** Its endpoint has all of it and has not answered. Bodies of copies are not waited for. */
  #waits = false;
  /** Of an answer that is trailers alone. */
  #fields: Fields | undefined = undefined;

  constructor(ports: RelayPorts, service: ServiceRuntime) {
    super();
    this.#ports = ports;
    this.#service = service;
    this.#startedAt = ports.clock.now();
  }

  start(head: RequestHead, plan: RelayPlan): void {
    const { balancer, name, stats } = this.#service;
    const { rng, self, upstreams, wheel } = this.#ports;
    const constraint = {
      visited: plan.hop.path,
      tried: [],
      within: undefined,
      foreign: plan.foreign,
      // Nobody waits for a copy.
      priority: COPY,
    };
    const endpoint = balancer.pick(constraint, this.#startedAt, rng);
    if (endpoint === undefined) {
      stats.failed("no_candidate");
      return;
    }
    this.#endpoint = endpoint;
    this.#isCall = plan.isCall;
    this.#waits = head.body === 0;
    balancer.started(endpoint, this.#startedAt, this.#waits);
    stats.inflight++;
    wheel.arm(this, DEADLINE_DEFAULT_MS);
    const about = {
      ...{ self, service: name, within: undefined, hop: plan.hop, retries: 0 },
      avoid: [],
      priority: COPY,
    };
    const copy =
      endpoint.endpoint.identity === undefined
        ? { ...head, fields: head.fields.slice() }
        : headFor(endpoint, head, { ...about, leftMs: DEADLINE_DEFAULT_MS });
    // What is said of the other service's data is none of this one's.
    if (plan.data !== undefined) removeDataFields(copy.fields);
    this.#stream = upstreams.open(endpoint.endpoint, copy, this);
  }

  body(chunk: Buffer): void {
    if (this.#stream?.sendBody(chunk) === false) this.drop();
  }

  bodyEnd(trailers: Fields | undefined): void {
    this.#stream?.sendEnd(trailers);
  }

  /** The real request broke off, or the copy lags behind. */
  drop(): void {
    this.#stream?.cancel();
    this.#end("cancelled");
  }

  override onTimeout(): void {
    const stage = this.#stream?.stage ?? "waits";
    this.#stream?.cancel();
    this.#fail(failure("deadline", "of a mirrored request"), outcomeAtDeadline(stage));
  }

  onInterim(): void {}

  onAnswer(head: AnswerHead): void {
    this.#status = head.status;
    if (head.body === 0) this.#fields = head.fields;
    this.#firstByteMs = this.#ports.clock.now() - this.#startedAt;
  }

  onAnswerBody(): boolean {
    return true;
  }

  onAnswerEnd(trailers: Fields | undefined): void {
    this.#service.stats.answered(this.#status, this.#ports.clock.now() - this.#startedAt);
    // Of a call HTTP's status says little.
    const outcome = this.#isCall
      ? outcomeOfCall(grpcStatusOfAnswer(this.#status, trailers ?? this.#fields))
      : outcomeOfStatus(this.#status);
    this.#end(outcome);
  }

  onRequestDrain(): void {}

  onFailure(reason: Failure): void {
    this.#fail(reason);
  }

  #fail(reason: Failure, outcome = outcomeOf(reason.kind)): void {
    this.#service.stats.failed(reason.kind);
    this.#firstByteMs = this.#ports.clock.now() - this.#startedAt;
    this.#end(outcome);
  }

  #end(outcome: Outcome): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    this.#endpoint = undefined;
    this.#stream = undefined;
    this.#ports.wheel.disarm(this);
    this.#service.stats.inflight--;
    const now = this.#ports.clock.now();
    this.#service.balancer.finished(endpoint, outcome, this.#firstByteMs, now, this.#waits);
  }
}
