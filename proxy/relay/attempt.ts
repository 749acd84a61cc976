import type { Millis } from "#kernel/brand.ts";
import { WheelItem } from "#kernel/timer_wheel.ts";
import type { ClusterName } from "#model/names.ts";
import { sourceOf } from "#proxy/authorize/forwarding.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import { takeLoadReport } from "#proxy/balance/load_report.ts";
import type {
  AnswerHead,
  AnswerSink,
  Fields,
  RequestHead,
  Stage,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { withGrpcTimeout } from "#proxy/exchange/grpc.ts";
import { headFor } from "#proxy/relay/mesh_head.ts";
import { timedOut } from "#proxy/relay/outcome.ts";
import type { RelayPlan, RelayPorts } from "#proxy/relay/plan.ts";
import type { ReplayBody } from "#proxy/relay/replay_body.ts";

/** Whose try it is: hears what comes of it, until it has ended the try. */
export interface AttemptOwner {
  onInterim(of: Attempt, status: number, fields: Fields): void;
  onAnswer(of: Attempt, head: AnswerHead): void;
  /** False: pause, until `Attempt.resume()`. */
  onAnswerBody(chunk: Buffer): boolean;
  /** Nothing follows. */
  onAnswerEnd(of: Attempt, trailers: Fields | undefined): void;
  onRequestDrain(): void;
  /** Nothing follows. A try whose time is over has still to be ended. */
  onFailure(of: Attempt, reason: Failure): void;
}

/**
 * One try of a request at one endpoint: its stream, how long it takes, and what the balancer is told of it. It is
 * its own time limit on the timer wheel.
 */
export class Attempt extends WheelItem implements AnswerSink {
  readonly endpoint: EndpointState;
  /** From its start to the head of its answer, or to its failure, ms. */
  firstByteMs: Millis = 0;
  readonly startedAt: Millis;
  /** Retries of the request that were given on with it, for the next gateway to spend. */
  given = 0;
  readonly #ports: RelayPorts;
  readonly #plan: RelayPlan;
  readonly #owner: AttemptOwner;
  /** It is a retry or a hedge. */
  readonly #extra: boolean;
  /** The subtree that has to serve it beyond its endpoint. */
  readonly within: ClusterName | undefined;
  /** That subtree is a pin's or a split's, not the request's own. */
  readonly isBound: boolean;
  readonly #avoid: readonly ClusterName[];
  #stream: UpstreamStream | undefined = undefined;
  /** The balancer knows how it went. */
  #told = false;
  /** Since when the endpoint has the request whole, and has to answer; undefined: not yet, or not any more. */
  #waitsSince: Millis | undefined = undefined;
  /** What the head of its answer tells; undefined: there is none yet. */
  #headTells: Outcome | undefined = undefined;

  constructor(
    ports: RelayPorts,
    plan: RelayPlan,
    owner: AttemptOwner,
    endpoint: EndpointState,
    about: {
      readonly now: Millis;
      readonly extra: boolean;
      readonly within: ClusterName | undefined;
      readonly isBound: boolean;
      /** Clusters that have failed the request, or refused it. */
      readonly avoid: readonly ClusterName[];
    },
  ) {
    super();
    this.#ports = ports;
    this.#plan = plan;
    this.#owner = owner;
    this.endpoint = endpoint;
    this.startedAt = about.now;
    this.#extra = about.extra;
    this.within = about.within;
    this.isBound = about.isBound;
    this.#avoid = about.avoid;
  }

  /**
   * @param leftMs of the request's time; undefined: not limited.
   * @param retries of its retries, that the next gateway may spend; for an endpoint there are none.
   */
  start(leftMs: Millis | undefined, retries: number): void {
    const { service, tryTimeoutMs } = this.#plan;
    const isWhole = this.#plan.head.body === 0;
    service.balancer.started(this.endpoint, this.startedAt, isWhole);
    if (isWhole) this.#waitsSince = this.startedAt;
    if (this.#extra) service.budget.begun();
    this.given = retries;
    this.#stream = this.#open(leftMs, retries);
    if (tryTimeoutMs > 0) this.#ports.wheel.arm(this, tryTimeoutMs);
  }

  /**
   * Of the retries that were given on with it, `left` are there again; our budget bears the others too.
   * @returns those that are there again.
   */
  takeBack(left: number): number {
    const spent = Math.max(0, this.given - left);
    const back = this.given - spent;
    this.given = 0;
    if (spent > 0) this.#plan.service.budget.charge(spent);
    return back;
  }

  /** Its stream has not ended. */
  get running(): boolean {
    return this.#stream !== undefined;
  }

  /** Undefined: its stream has ended. */
  get stage(): Stage | undefined {
    return this.#stream?.stage;
  }

  /** False: pause, until `AttemptOwner.onRequestDrain`. */
  sendBody(chunk: Buffer): boolean {
    return this.#stream!.sendBody(chunk);
  }

  sendEnd(trailers: Fields | undefined): void {
    if (
      this.#headTells === undefined &&
      this.#waitsSince === undefined &&
      this.#stream !== undefined
    ) {
      this.#waitsSince = this.#ports.clock.now();
      this.#plan.service.balancer.asked(this.endpoint);
    }
    this.#stream?.sendEnd(trailers);
  }

  /** Sends what has come of the body so far. */
  sendAll(replay: ReplayBody): void {
    for (const chunk of replay.chunks) this.#stream!.sendBody(chunk);
    replay.taken();
    if (replay.ended) this.sendEnd(replay.trailers);
  }

  resume(): void {
    this.#stream?.resume();
  }

  /** Its answer has begun, or it has failed. */
  measure(now: Millis): void {
    this.firstByteMs = now - this.startedAt;
  }

  /** Its answer has begun. @param outcome as far as the head tells it. */
  answered(outcome: Outcome, now: Millis): void {
    this.#headTells = outcome;
    const since = this.#waitsSince;
    if (since === undefined) return;
    this.#waitsSince = undefined;
    this.#plan.service.balancer.answered(this.endpoint, outcome, now - since, now);
  }

  /** What an answer tells that is not given on: who asks for another try has not served it, whatever its status. */
  get refusal(): Outcome {
    return this.#headTells === undefined || this.#headTells === "ok" ? "failed" : this.#headTells;
  }

  /** No limit of its own holds from here. */
  disarm(): void {
    this.#ports.wheel.disarm(this);
  }

  /** Its stream has come to its end by itself. */
  complete(outcome: Outcome, now: Millis): void {
    this.#stream = undefined;
    this.end(outcome, now);
  }

  /** Ends it, if it has not ended: the stream is let go and the balancer learns how it went. */
  end(outcome: Outcome, now: Millis): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    if (this.#told) return;
    this.#told = true;
    this.disarm();
    const { balancer, budget } = this.#plan.service;
    const waits = this.#waitsSince !== undefined;
    balancer.finished(this.endpoint, outcome, this.firstByteMs, now, waits);
    if (this.#extra) budget.ended();
  }

  /** Another try has won. Nothing is held against this one but that it has taken so long already. */
  lose(now: Millis): void {
    this.measure(now);
    this.end("cancelled", now);
    const { ewma } = this.endpoint;
    if (this.firstByteMs > ewma.read(now)) ewma.add(this.firstByteMs, now);
  }

  // ── the endpoint's side ──

  onInterim(status: number, fields: Fields): void {
    this.#owner.onInterim(this, status, fields);
  }

  onAnswer(head: AnswerHead): void {
    this.#takeReport(head.fields);
    this.#owner.onAnswer(this, head);
  }

  onAnswerBody(chunk: Buffer): boolean {
    return this.#owner.onAnswerBody(chunk);
  }

  onAnswerEnd(trailers: Fields | undefined): void {
    if (trailers !== undefined) this.#takeReport(trailers);
    this.#owner.onAnswerEnd(this, trailers);
  }

  onRequestDrain(): void {
    this.#owner.onRequestDrain();
  }

  onFailure(reason: Failure): void {
    this.#stream = undefined;
    this.#owner.onFailure(this, reason);
  }

  /** A try's own time is over. */
  override onTimeout(): void {
    const stage = this.#stream?.stage;
    if (stage === undefined) return;
    const detail = `no answer after ${this.#plan.tryTimeoutMs} ms`;
    this.#owner.onFailure(this, failure(timedOut(stage), detail));
  }

  /** What the endpoint says of its load. What comes from further away is about nobody known here. */
  #takeReport(fields: Fields): void {
    const report = takeLoadReport(fields, this.#plan.forGateway);
    if (report === undefined || this.endpoint.locale.kind !== "local") return;
    const isRead = report !== "refused";
    this.endpoint.locale.outliers.countReport(isRead ? "read" : "refused");
    if (isRead) this.endpoint.report(report, this.#ports.clock.now());
  }

  // ── what is sent ──

  #open(leftMs: Millis | undefined, retries: number): UpstreamStream {
    const place = this.endpoint.endpoint;
    const { upstreams, raw, self } = this.#ports;
    const { service, hop, priority, data, sessionRest: session, debug } = this.#plan;
    const avoid = this.#avoid;
    const head = this.#headWith(leftMs);
    if (place.identity !== undefined) {
      const epoch = service.balancer.service.replication?.epoch;
      const told = { priority, data, epoch, session, debug };
      const about = {
        self,
        service: service.name,
        within: this.within,
        hop,
        avoid,
        leftMs,
        retries,
        ...told,
      };
      return upstreams.open(place, headFor(this.endpoint, head, about), this);
    }
    if (!service.raw) return upstreams.open(place, head, this);
    const version = service.proxyProtocol;
    const introduction = version && { version, source: sourceOf(head.fields) };
    return raw.open(place, introduction, this);
  }

  /** As it came; but a deadline of the client's own is told as what is left of it. */
  #headWith(leftMs: Millis | undefined): RequestHead {
    const { tellsDeadline, head } = this.#plan;
    if (!tellsDeadline || leftMs === undefined) return head;
    return { ...head, fields: withGrpcTimeout(head.fields, leftMs) };
  }
}
