import type { Millis } from "#kernel/brand.ts";
import { Timeout, WheelItem } from "#kernel/timer_wheel.ts";
import { FAILED_FIELD, stripHop } from "#proxy/authorize/hop.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import type { PickConstraint } from "#proxy/balance/pick_constraint.ts";
import {
  type AnswerHead,
  type BodySink,
  type Exchange,
  type ExchangeObserver,
  type Fields,
  opensTunnel,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";
import {
  FAILURES,
  type Failure,
  type FailureName,
  failure,
  isFailureName,
  type RetryRule,
} from "#proxy/exchange/failure.ts";
import {
  GrpcStatus,
  grpcStatusOf,
  grpcStatusOfAnswer,
  isEndpointsFault,
  retryPushback,
} from "#proxy/exchange/grpc.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";
import { acceptConnect, retryRuleOf } from "#proxy/relay/answer_verdict.ts";
import { Attempt, type AttemptOwner } from "#proxy/relay/attempt.ts";
import { answerFailure } from "#proxy/relay/failure_answer.ts";
import { Mirror } from "#proxy/relay/mirror.ts";
import { outcomeAtDeadline, outcomeOf } from "#proxy/relay/outcome.ts";
import type { RelayPlan, RelayPorts } from "#proxy/relay/plan.ts";
import { ReplayBody } from "#proxy/relay/replay_body.ts";
import { mayRetry } from "#proxy/retry/classify.ts";

/** `trying`: nothing of an answer has reached the client, so another try is possible. */
/** `tunnel`: another protocol, both ways; over when both have ended. */
type State = "trying" | "answering" | "tunnel" | "done";

const NO_MIRRORS: readonly Mirror[] = [];

/**
 * One request from its plan to its record: choose an endpoint, send, and pass the answer back; or try
 * again elsewhere while nothing of an answer has reached the client and another try is safe.
 * It is its own deadline on the timer wheel.
 */
export class Relay extends WheelItem implements ExchangeObserver, AttemptOwner, BodySink {
  readonly #ports: RelayPorts;
  readonly #exchange: Exchange;
  readonly #plan: RelayPlan;
  readonly #head: RequestHead;
  readonly #startedAt: Millis;
  #state: State = "trying";
  /** The running try, or the last one; undefined: nobody could be asked. */
  #attempt: Attempt | undefined = undefined;
  readonly #tried: EndpointState[] = [];
  #retriesLeft: number;
  #admitted = false;
  #status = 0;
  /** As the client has seen it; 0: none. */
  #answerStatus = 0;
  /** Of a call of gRPC, once its answer has ended. */
  #grpcStatus: number | undefined = undefined;
  /** Of an answer that may be trailers alone: its fields. */
  #answerFields: Fields | undefined = undefined;
  #requestBytes = 0;
  #answerBytes = 0;
  /** Why it ended, if not well. */
  #failure: Failure | undefined = undefined;
  /** Something has moved since the timer last looked. */
  #moved = false;
  /** Of a tunnel, or of a request's body: the client's side has ended. */
  #sentAll = false;
  #answeredAll = false;
  /** Some endpoint may have acted on the request. */
  #touched = false;
  #replay: ReplayBody | undefined = undefined;
  /** Runs while a retry waits for its turn. */
  #backoff: Timeout | undefined = undefined;
  /** Copies of the request; none in almost every case. */
  #mirrors: readonly Mirror[] = NO_MIRRORS;

  constructor(ports: RelayPorts, exchange: Exchange, plan: RelayPlan) {
    super();
    this.#ports = ports;
    this.#exchange = exchange;
    this.#plan = plan;
    this.#head = plan.head;
    this.#startedAt = ports.clock.now();
    this.#retriesLeft = plan.hop.retries;
  }

  start(): void {
    const { service, deadlineMs } = this.#plan;
    this.#exchange.observer = this;
    service.stats.inflight++;
    const refusal = service.admission.admit(this.#plan, this.#exchange, this.#startedAt);
    if (refusal !== undefined) {
      service.stats.failed(refusal.kind);
      this.#giveUp(refusal);
      return;
    }
    this.#admitted = true;
    service.budget.deposit(this.#startedAt);
    if (deadlineMs > 0) this.#ports.wheel.armAt(this, this.#startedAt + deadlineMs);
    const first = this.#pick(this.#startedAt);
    if (first === undefined) {
      const why = service.balancer.whyNot(this.#constraint(), this.#startedAt);
      const reason = failure(why, `nobody serves ${service.name}`);
      if (why === "shed") service.admission.refuse(why, this.#plan.priority);
      service.stats.failed(reason.kind);
      this.#giveUp(reason);
      return;
    }
    this.#try(first, this.#startedAt);
    if (this.#plan.mirrors.length > 0) this.#startMirrors();
    if (this.#head.body !== 0) {
      this.#replay = new ReplayBody();
      this.#exchange.readBody(this);
    }
  }

  // ── the client's side ──

  onBody(chunk: Buffer): boolean {
    this.#moved = true;
    this.#requestBytes += chunk.length;
    this.#plan.service.stats.requestBytes += chunk.length;
    const attempt = this.#attempt!;
    const between = !attempt.running;
    if (this.#state === "trying") this.#replay!.add(chunk, between);
    for (const mirror of this.#mirrors) mirror.body(chunk);
    // Between two tries nobody takes it: `#resend` goes on.
    return between ? this.#state !== "trying" : attempt.sendBody(chunk);
  }

  onBodyEnd(trailers: Fields | undefined): void {
    this.#sentAll = true;
    if (this.#state === "tunnel") {
      this.#attempt!.sendEnd(undefined);
      if (this.#answeredAll) this.#endTunnel();
      return;
    }
    this.#replay!.ended = true;
    this.#replay!.trailers = trailers;
    for (const mirror of this.#mirrors) mirror.bodyEnd(trailers);
    this.#attempt!.sendEnd(trailers);
  }

  onClientGone(reason: Failure): void {
    if (this.#state === "done") return;
    this.#failure = reason;
    // The codec answers so what the client itself has broken.
    const { source, status } = FAILURES[reason.kind];
    if (this.#answerStatus === 0 && source === "downstream") this.#answerStatus = status;
    this.#plan.service.stats.failed(reason.kind);
    if (this.#replay?.ended === false) for (const mirror of this.#mirrors) mirror.drop();
    this.#endTry("cancelled");
    this.#finish();
  }

  onAnswerDrain(): void {
    this.#attempt?.resume();
  }

  /** The deadline of the whole request; later, that nothing moves any more. */
  override onTimeout(): void {
    if (this.#state === "done") return;
    if (
      this.#state === "tunnel" ||
      (this.#state === "answering" && !this.#plan.deadlineCoversBody)
    ) {
      this.#watchStream();
      return;
    }
    const reason = failure("deadline", `${this.#plan.deadlineMs} ms are over`);
    this.#plan.service.stats.failed(reason.kind);
    const stage = this.#attempt?.stage ?? "waits";
    if (stage === "begun") this.#touched = true;
    this.#attempt?.measure(this.#ports.clock.now());
    const answering = this.#state === "answering";
    this.#endTry(outcomeAtDeadline(stage));
    if (answering) this.#cutShort(reason);
    else this.#giveUp(reason);
  }

  #watchStream(): void {
    const { streamIdleMs } = this.#exchange.policy;
    if (this.#moved) {
      this.#moved = false;
      this.#ports.wheel.arm(this, streamIdleMs);
      return;
    }
    const reason = failure("stream_idle", `${streamIdleMs} ms without a byte`);
    this.#plan.service.stats.failed(reason.kind);
    this.#endTry("cancelled");
    this.#cutShort(reason);
  }

  // ── the endpoint's side ──

  onInterim(status: number, fields: Fields): void {
    if (this.#state !== "trying") return;
    stripHop(fields);
    this.#exchange.interim(status, fields);
  }

  onAnswer(of: Attempt, head: AnswerHead): void {
    const now = this.#ports.clock.now();
    of.measure(now);
    const isTunnel = opensTunnel(this.#head.method, head.status);
    if (isTunnel && this.#exchange.head.method === "CONNECT") acceptConnect(head);
    this.#status = head.status;
    // Only a gateway's word counts; from anybody else the field is just removed.
    const own = stripHop(head.fields);
    const said = of.endpoint.locale.kind === "local" ? undefined : own;
    if (said?.refused !== undefined) {
      this.#tryFailed(failure("refused_by_gateway", said.refused), now);
      return;
    }
    if (this.#plan.isCall && head.body === 0) this.#answerFields = head.fields;
    const rule = retryRuleOf(this.#plan, head);
    if (rule !== undefined && this.#retryInstead(rule, head.fields, now)) return;
    if (said?.failed !== undefined && this.#tellFailure(said.failed, head.fields)) return;
    this.#state = isTunnel ? "tunnel" : "answering";
    of.disarm();
    // Later than the deadline that is armed, as a rule: that costs the wheel one number.
    if (isTunnel || !this.#plan.deadlineCoversBody) {
      this.#ports.wheel.armAt(this, now + this.#exchange.policy.streamIdleMs);
    }
    this.#replay?.drop();
    this.#plan.editAnswer?.(head.fields, of.endpoint);
    this.#answerStatus = head.status;
    const { stats } = this.#plan.service;
    stats.answering(now - this.#startedAt);
    this.#exchange.answer(head);
    if (!isTunnel) return;
    // Its answer is complete; how long it lives is no response time.
    stats.answered(head.status, now - this.#startedAt);
    stats.tunnels++;
    this.#status = 0;
    // The request's body may have ended; the tunnel's own has not begun.
    this.#sentAll = false;
    this.#exchange.readBody(this);
  }

  /**
   * What a gateway has answered by itself is told on to the next one; a caller of gRPC hears it in gRPC's words, and
   * then this answer is dropped: true.
   */
  #tellFailure(kind: string, fields: Fields): boolean {
    if (!isFailureName(kind)) return false;
    if (this.#exchange.peer.kind === "gateway") fields.push(FAILED_FIELD, kind);
    if (this.#exchange.peer.kind === "gateway" || !this.#plan.isCall) return false;
    this.#touched = true;
    this.#endTry("failed");
    this.#giveUp(failure(kind, "said by the next gateway"));
    return true;
  }

  onAnswerBody(chunk: Buffer): boolean {
    this.#moved = true;
    this.#answerBytes += chunk.length;
    this.#plan.service.stats.answerBytes += chunk.length;
    return this.#exchange.answerBody(chunk);
  }

  onAnswerEnd(of: Attempt, trailers: Fields | undefined): void {
    if (this.#state === "tunnel") {
      this.#answeredAll = true;
      this.#exchange.answerEnd(undefined);
      if (this.#sentAll) this.#endTunnel();
      return;
    }
    const now = this.#ports.clock.now();
    of.complete(this.#isWell(trailers) ? "ok" : "failed", now);
    this.#finish(now);
    this.#exchange.answerEnd(trailers);
  }

  onRequestDrain(): void {
    this.#exchange.resumeBody();
  }

  onFailure(of: Attempt, reason: Failure): void {
    if (this.#state === "done") return;
    const now = this.#ports.clock.now();
    if (this.#state === "trying") {
      of.measure(now);
      this.#tryFailed(reason, now);
      return;
    }
    this.#plan.service.stats.failed(reason.kind);
    this.#endTry("failed");
    this.#cutShort(reason);
  }

  // ── tries ──

  #pick(now: Millis): EndpointState | undefined {
    return this.#plan.service.balancer.pick(this.#constraint(), now, this.#ports.rng);
  }

  #constraint(): PickConstraint {
    return {
      visited: this.#plan.hop.path,
      tried: this.#tried,
      within: this.#plan.within,
      foreign: this.#plan.foreign,
      session: this.#plan.session,
      priority: this.#plan.priority,
    };
  }

  #try(endpoint: EndpointState, now: Millis): void {
    const attempt = new Attempt(this.#ports, this.#plan, this, endpoint, now);
    this.#attempt = attempt;
    const { deadlineMs } = this.#plan;
    const leftMs = deadlineMs > 0 ? deadlineMs - (now - this.#startedAt) : undefined;
    attempt.start(leftMs, this.#retriesLeft);
  }

  /** Whether an answer that has ended speaks for its endpoint. */
  #isWell(trailers: Fields | undefined): boolean {
    if (!this.#plan.isCall) return this.#status < 500;
    this.#grpcStatus = grpcStatusOfAnswer(this.#status, trailers ?? this.#answerFields);
    return !isEndpointsFault(this.#grpcStatus);
  }

  #startMirrors(): void {
    this.#mirrors = this.#plan.mirrors.map((service) => new Mirror(this.#ports, service));
    for (const mirror of this.#mirrors) mirror.start(this.#head, this.#plan);
  }

  #tryFailed(reason: Failure, now: Millis): void {
    this.#plan.service.stats.failed(reason.kind);
    const rule = FAILURES[reason.kind].retry;
    this.#endTry(outcomeOf(reason.kind));
    if (rule !== "always") this.#touched = true;
    const next = this.#next(rule, now, this.#isLinkFailure(reason.kind));
    if (next === undefined) this.#giveUp(reason);
    else this.#tryAgain(next, now);
  }

  /** True if an answer that says "not now" was dropped for another try. */
  #retryInstead(rule: RetryRule, fields: Fields, now: Millis): boolean {
    this.#plan.service.stats.failed("retryable_status");
    const pushback = this.#plan.isCall ? retryPushback(fields) : undefined;
    if (pushback === Number.POSITIVE_INFINITY) return false;
    const next = this.#next(rule, now, false);
    if (next === undefined) return false;
    this.#touched = true;
    this.#endTry("failed");
    this.#tryAgain(next, now, pushback);
    return true;
  }

  /**
   * True if the way was lost and not the endpoint: such a retry adds no load to anybody, and when a
   * gateway or a link dies under load every request on it needs one at once. It is not charged.
   */
  #isLinkFailure(kind: FailureName): boolean {
    if (kind === "link_down" || FAILURES[kind].retry === "always") return true;
    const wasCut = kind === "closed_early" || kind === "stale_connection";
    return wasCut && this.#attempt!.endpoint.locale.kind !== "local";
  }

  /** Where to try next, paid for unless it is free; undefined if there is to be no other try. */
  #next(rule: RetryRule, now: Millis, free: boolean): EndpointState | undefined {
    if (this.#retriesLeft <= 0 || this.#replay?.complete === false) return undefined;
    if (!mayRetry(rule, this.#head.method)) return undefined;
    this.#tried.push(this.#attempt!.endpoint);
    const next = this.#pick(now);
    if (next === undefined) return undefined;
    if (free || this.#plan.service.budget.tryWithdraw(now)) return next;
    this.#plan.service.stats.retriesDenied++;
    return undefined;
  }

  /** @param waitMs what the endpoint asks for, in place of the route's back-off. */
  #tryAgain(endpoint: EndpointState, now: Millis, waitMs?: Millis): void {
    this.#retriesLeft--;
    // The client has not seen that answer.
    this.#status = 0;
    this.#plan.service.stats.retries++;
    const backoffMs = waitMs ?? this.#plan.retry?.backoffMs ?? 0;
    if (backoffMs === 0) {
      this.#resend(endpoint, now);
      return;
    }
    this.#backoff = new Timeout(() => {
      if (this.#state === "trying") this.#resend(endpoint, this.#ports.clock.now());
    });
    this.#ports.wheel.arm(this.#backoff, backoffMs);
  }

  #resend(endpoint: EndpointState, now: Millis): void {
    this.#try(endpoint, now);
    const replay = this.#replay;
    if (replay === undefined) return;
    this.#attempt!.sendAll(replay);
    if (!replay.ended) this.#exchange.resumeBody();
  }

  /** Ends the running try, if any. */
  #endTry(outcome: Outcome, now = this.#ports.clock.now()): void {
    this.#attempt?.end(outcome, now);
  }

  // ── the end ──

  #endTunnel(): void {
    const now = this.#ports.clock.now();
    this.#attempt!.complete("ok", now);
    this.#finish(now);
  }

  #giveUp(reason: Failure): void {
    this.#failure = reason;
    this.#status = FAILURES[reason.kind].status;
    this.#answerStatus = this.#status;
    this.#finish();
    answerFailure(this.#exchange, reason, {
      self: this.#ports.self,
      untouched: !this.#touched,
      edit: this.#plan.editAnswer,
    });
  }

  #cutShort(reason: Failure): void {
    this.#failure = reason;
    this.#finish();
    this.#exchange.abort(reason);
  }

  #finish(now = this.#ports.clock.now()): void {
    const { stats, admission } = this.#plan.service;
    if (this.#state === "tunnel") stats.tunnels--;
    this.#state = "done";
    this.#ports.wheel.disarm(this);
    if (this.#backoff !== undefined) this.#ports.wheel.disarm(this.#backoff);
    const elapsedMs = now - this.#startedAt;
    if (this.#plan.isCall) {
      if (this.#failure !== undefined) this.#grpcStatus = grpcStatusOf(this.#failure.kind);
      stats.called(this.#head.target, this.#grpcStatus ?? GrpcStatus.UNKNOWN, elapsedMs);
    }
    if (this.#exchange.log !== undefined) this.#writeDown(this.#exchange.log);
    if (this.#admitted) admission.release(this.#plan, this.#exchange);
    stats.inflight--;
    if (this.#status > 0) stats.answered(this.#status, elapsedMs);
  }

  #writeDown(entry: AccessEntry): void {
    entry.endpoint = this.#attempt?.endpoint;
    entry.service = this.#plan.service.name;
    entry.resends = this.#plan.hop.retries - this.#retriesLeft;
    entry.status = this.#answerStatus;
    entry.grpcStatus = this.#grpcStatus;
    entry.requestBytes = this.#requestBytes;
    entry.answerBytes = this.#answerBytes;
    entry.failure = this.#failure;
    entry.end(this.#ports.accessLog, this.#ports.clock);
  }
}
