import type { Millis } from "#kernel/brand.ts";
import { Timeout, WheelItem } from "#kernel/timer_wheel.ts";
import type { ClusterName } from "#model/names.ts";
import { type GatewaySaid, stripHop } from "#proxy/authorize/hop.ts";
import type { EndpointState, Outcome } from "#proxy/balance/endpoint_state.ts";
import {
  type AnswerHead,
  type BodySink,
  type Exchange,
  type ExchangeObserver,
  type Fields,
  opensTunnel,
  type RequestHead,
} from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure, failure, type RetryRule } from "#proxy/exchange/failure.ts";
import {
  GrpcStatus,
  grpcStatusOf,
  grpcStatusOfAnswer,
  retryPushback,
} from "#proxy/exchange/grpc.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";
import { markAnswer } from "#proxy/relay/answer_marks.ts";
import {
  acceptConnect,
  isFinal,
  mayHedge,
  outcomeOfHead,
  retryRuleOf,
} from "#proxy/relay/answer_verdict.ts";
import { Attempt, type AttemptOwner } from "#proxy/relay/attempt.ts";
import { Copies } from "#proxy/relay/copies.ts";
import { answerFailure } from "#proxy/relay/failure_answer.ts";
import { isFree } from "#proxy/relay/free_retry.ts";
import { toAvoid } from "#proxy/relay/mesh_head.ts";
import {
  hasNobody,
  isBlameless,
  outcomeAtDeadline,
  outcomeOf,
  outcomeOfCall,
  outcomeOfStatus,
  reasonToTell,
} from "#proxy/relay/outcome.ts";
import { constraintOf, type RelayPlan, type RelayPorts } from "#proxy/relay/plan.ts";
import { Race } from "#proxy/relay/race.ts";
import { ReplayBody } from "#proxy/relay/replay_body.ts";
import { RouteTrace } from "#proxy/relay/route_trace.ts";
import { tellOn } from "#proxy/relay/tell_on.ts";
import { mayRetry } from "#proxy/retry/classify.ts";
import { ROOM_WAIT_MS, untilLook } from "#proxy/retry/room.ts";

/** `trying`: nothing of an answer has reached the client. `tunnel`: another protocol, until both ways have ended. */
type State = "trying" | "answering" | "tunnel" | "done";

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
  /** Where a second try may run beside it. */
  #race: Race | undefined = undefined;
  /** Of the last pick: the subtree that must serve it from there on; whether that is a pin's or a split's. */
  #within: ClusterName | undefined = undefined;
  #isBound = false;
  /** We have bound it to a subtree, which could not take it: whoever is left may, he that has refused as well. */
  #unbound = false;
  readonly #tried: EndpointState[] = [];
  /** Of the retries that it came with, those that are neither spent nor given on with a try. */
  #retriesLeft: number;
  #admitted = false;
  /** All have been asked that there are. */
  #asked = false;
  /** Tries after the first. */
  #resends = 0;
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
  /** Which way it goes, for who may know. */
  #trace: RouteTrace | undefined = undefined;
  /** Copies of the request; none in almost every case. */
  #copies: Copies | undefined = undefined;

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
    const { service, deadlineMs, debug } = this.#plan;
    this.#exchange.observer = this;
    service.stats.inflight++;
    if (debug) this.#trace = new RouteTrace(this.#ports.self, this.#plan, this.#startedAt);
    const refusal = service.admission.admit(this.#plan, this.#exchange, this.#startedAt);
    if (refusal !== undefined) {
      service.stats.failed(refusal.kind);
      this.#giveUp(refusal);
      return;
    }
    this.#admitted = true;
    service.budget.deposit(this.#startedAt);
    if (deadlineMs > 0) this.#ports.wheel.armAt(this, this.#startedAt + deadlineMs);
    this.#enter(this.#startedAt);
  }

  /** The first try; where others whose way was lost have taken all the room there is, that waits for a moment too. */
  #enter(now: Millis): void {
    const { service } = this.#plan;
    const first = this.#pick(now);
    if (first === undefined) {
      const why = service.balancer.whyNot(constraintOf(this.#plan, this.#tried), now);
      const isCrowded = why === "shed" && service.lostWays.isCrowded(now);
      if (isCrowded && now - this.#startedAt < ROOM_WAIT_MS) {
        this.#afterMs(untilLook(this.#ports.rng), (then) => this.#enter(then));
        return;
      }
      const reason = failure(why, `nobody serves ${service.name}`);
      if (why === "shed") service.admission.refuse(why, this.#plan.priority);
      service.stats.failed(reason.kind);
      this.#giveUp(reason);
      return;
    }
    this.#attempt = this.#begin(first, now, false);
    const delayMs = service.hedging?.delayMs;
    if (delayMs !== undefined && mayHedge(this.#plan)) {
      this.#race = new Race(this.#ports.clock, delayMs, (then) => this.#hedge(then));
    }
    if (this.#plan.mirrors.length > 0) {
      this.#copies = new Copies(this.#ports, this.#plan, this.#head);
    }
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
    this.#copies?.body(chunk);
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
    this.#copies?.bodyEnd(trailers);
    this.#attempt!.sendEnd(trailers);
  }

  onClientGone(reason: Failure): void {
    if (this.#state === "done") return;
    this.#failure = reason;
    // The codec answers so what the client itself has broken.
    const { source, status } = FAILURES[reason.kind];
    if (this.#answerStatus === 0 && source === "downstream") this.#answerStatus = status;
    this.#plan.service.stats.failed(reason.kind);
    if (this.#replay?.ended === false) this.#copies?.drop();
    this.#endTries("cancelled");
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
    if (stage === "begun" || this.#race?.rival?.stage === "begun") this.#touched = true;
    this.#attempt?.measure(this.#ports.clock.now());
    const answering = this.#state === "answering";
    this.#endTries(outcomeAtDeadline(stage));
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
    this.#endTries("cancelled");
    this.#cutShort(reason);
  }

  // ── the endpoint's side ──

  onInterim(of: Attempt, status: number, fields: Fields): void {
    if (this.#state !== "trying" || of !== this.#attempt) return;
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
    of.answered(outcomeOfHead(this.#plan, head, said), now);
    this.#retriesLeft += of.takeBack(said?.retries ?? of.given);
    const final = said?.refused !== undefined && isFinal(said.refused) && !of.isBound;
    if (said?.refused !== undefined && !final) {
      this.#tryFailed(of, failure("refused_by_gateway", said.refused), now);
      return;
    }
    if (this.#plan.isCall && head.body === 0) this.#answerFields = head.fields;
    const rule = final ? undefined : retryRuleOf(this.#plan, head);
    if (rule !== undefined && this.#retryInstead(of, rule, head.fields, now)) return;
    const { stats, hedging, lostWays } = this.#plan.service;
    if (hedging !== undefined) {
      const beganAt = this.#race?.won(of, this.#attempt!, now) ?? of.startedAt;
      if (of !== this.#attempt) stats.hedgeWins++;
      this.#attempt = of;
      if (head.status < 500) hedging.add(now - beganAt);
    }
    this.#trace?.tried(of, String(head.status));
    if (this.#tellOn(said, head.fields)) return;
    lostWays.find(of.endpoint);
    this.#state = isTunnel ? "tunnel" : "answering";
    of.disarm();
    // Later than the deadline that is armed, as a rule: that costs the wheel one number.
    if (isTunnel || !this.#plan.deadlineCoversBody) {
      this.#ports.wheel.armAt(this, now + this.#exchange.policy.streamIdleMs);
    }
    this.#replay?.drop();
    const plan = this.#plan;
    const trace = this.#trace;
    const { editAnswer, sessionRest, data } = plan;
    if ((editAnswer ?? sessionRest ?? data ?? trace) !== undefined) {
      markAnswer(head, { ports: this.#ports, exchange: this.#exchange, plan, of, said, trace });
    }
    this.#answerStatus = head.status;
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

  /** A caller of gRPC hears in gRPC's words what a gateway has answered by itself; its answer is dropped then: true. */
  #tellOn(said: GatewaySaid | undefined, fields: Fields): boolean {
    const { peer } = this.#exchange;
    const kind = tellOn(fields, peer, said, this.#toldLeft());
    if (kind === undefined || peer.kind === "gateway" || !this.#plan.isCall) return false;
    this.#touched ||= said!.refused === undefined;
    this.#attempt!.end("failed", this.#ports.clock.now());
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
    of.complete(this.#outcome(trailers), now);
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
      // What has gone to nobody, nobody has spent anything of.
      if (FAILURES[reason.kind].retry === "always") this.#retriesLeft += of.takeBack(of.given);
      this.#tryFailed(of, reason, now);
      return;
    }
    this.#plan.service.stats.failed(reason.kind);
    of.end("failed", now);
    this.#cutShort(reason);
  }

  // ── tries ──

  #pick(now: Millis): EndpointState | undefined {
    const { balancer } = this.#plan.service;
    const constraint = constraintOf(this.#plan, this.#tried, this.#unbound);
    const found = balancer.pick(constraint, now, this.#ports.rng);
    this.#within = balancer.pickedWithin;
    this.#isBound = balancer.pickedPart;
    return found;
  }

  /** @param extra it is a retry or a hedge. */
  #begin(endpoint: EndpointState, now: Millis, extra: boolean): Attempt {
    const attempt = new Attempt(this.#ports, this.#plan, this, endpoint, {
      ...{ now, extra, within: this.#within, isBound: this.#isBound },
      avoid: toAvoid(this.#plan.hop.avoid, this.#tried, endpoint),
    });
    const { deadlineMs } = this.#plan;
    const leftMs = deadlineMs > 0 ? deadlineMs - (now - this.#startedAt) : undefined;
    // One is kept, for the case that the next gateway is lost and says nothing any more.
    const isHop = endpoint.locale.kind !== "local" && this.#retriesLeft > 1;
    const given = isHop ? this.#retriesLeft - 1 : 0;
    this.#retriesLeft -= given;
    attempt.start(leftMs, given);
    return attempt;
  }

  /** What an answer that has ended tells of its endpoint. */
  #outcome(trailers: Fields | undefined): Outcome {
    if (!this.#plan.isCall) return outcomeOfStatus(this.#status);
    this.#grpcStatus = grpcStatusOfAnswer(this.#status, trailers ?? this.#answerFields);
    return outcomeOfCall(this.#grpcStatus);
  }

  #tryFailed(of: Attempt, reason: Failure, now: Millis): void {
    this.#plan.service.stats.failed(reason.kind);
    const rule = FAILURES[reason.kind].retry;
    if (rule !== "always") this.#touched = true;
    this.#trace?.tried(of, reason.kind === "refused_by_gateway" ? reason.detail : reason.kind);
    // Of data that only some have, others may have nobody.
    if (hasNobody(reason) && this.#plan.data === undefined) {
      this.#plan.service.balancer.hasNobody(of.endpoint, of.within, now);
    }
    const isReleased = of.isBound && reason.kind === "refused_by_gateway";
    this.#unbound ||= isReleased;
    const outcome = isReleased || isBlameless(reason) ? "cancelled" : outcomeOf(reason.kind);
    if (this.#leaveRace(of, outcome, now)) return;
    of.end(outcome, now);
    const free = isReleased || isFree(of, reason, this.#plan.service.lostWays, now);
    const next = this.#next(of, rule, now, free);
    if (next !== undefined) this.#tryAgain(next, now);
    else if (!free || !this.#awaitRoom(rule, reason, now)) this.#giveUp(reason);
  }

  /** Where a way is lost many look for another at once: who finds all places full looks again. False: it is in vain. */
  #awaitRoom(rule: RetryRule, reason: Failure, now: Millis): boolean {
    const { firstByteMs, startedAt } = this.#attempt!;
    const hasTime = now - startedAt - firstByteMs < ROOM_WAIT_MS;
    if (!hasTime || !this.#mayTryAgain(rule)) return false;
    const why = this.#plan.service.balancer.whyNot(constraintOf(this.#plan, this.#tried), now);
    if (why !== "shed") return false;
    this.#plan.service.lostWays.crowd(now);
    this.#afterMs(untilLook(this.#ports.rng), (then) => {
      const next = this.#pick(then);
      if (next !== undefined) this.#tryAgain(next, then);
      else if (!this.#awaitRoom(rule, reason, then)) this.#giveUp(reason);
    });
    return true;
  }

  /** True if an answer that says "not now" was dropped for another try. */
  #retryInstead(of: Attempt, rule: RetryRule, fields: Fields, now: Millis): boolean {
    this.#plan.service.stats.failed("retryable_status");
    const pushback = this.#plan.isCall ? retryPushback(fields) : undefined;
    if (this.#race?.rival !== undefined) this.#touched = true;
    if (this.#leaveRace(of, of.refusal, now)) return true;
    if (pushback === Number.POSITIVE_INFINITY) return false;
    const next = this.#next(of, rule, now, false);
    if (next === undefined) return false;
    this.#touched = true;
    this.#trace?.tried(of, String(this.#status));
    of.end(of.refusal, now);
    this.#tryAgain(next, now, pushback);
    return true;
  }

  /** Where to try next, paid for unless it is free; undefined if there is to be no other try. */
  #next(of: Attempt, rule: RetryRule, now: Millis, free: boolean): EndpointState | undefined {
    if (!this.#mayTryAgain(rule)) return undefined;
    if (!of.isBound || !this.#unbound) this.#tried.push(of.endpoint);
    const next = this.#pick(now);
    this.#asked = next === undefined;
    if (next === undefined) return undefined;
    const { budget, stats } = this.#plan.service;
    if (free ? budget.mayBegin : budget.tryWithdraw(now)) return next;
    stats.retriesDenied++;
    return undefined;
  }

  #mayTryAgain(rule: RetryRule): boolean {
    if (this.#retriesLeft <= 0 || this.#replay?.complete === false) return false;
    return mayRetry(rule, this.#head.method);
  }

  /** @param waitMs what the endpoint asks for, in place of the route's back-off. */
  #tryAgain(endpoint: EndpointState, now: Millis, waitMs?: Millis): void {
    this.#retriesLeft--;
    this.#resends++;
    // The client has not seen that answer.
    this.#status = 0;
    this.#plan.service.stats.retries++;
    const backoffMs = waitMs ?? this.#plan.retry?.backoffMs ?? 0;
    if (backoffMs === 0) {
      this.#resend(endpoint, now);
      return;
    }
    this.#afterMs(backoffMs, (then) => this.#resend(endpoint, then));
  }

  /** Between two tries. */
  #afterMs(ms: Millis, act: (now: Millis) => void): void {
    this.#backoff = new Timeout(() => {
      if (this.#state === "trying") act(this.#ports.clock.now());
    });
    this.#ports.wheel.arm(this.#backoff, ms);
  }

  #resend(endpoint: EndpointState, now: Millis): void {
    this.#attempt = this.#begin(endpoint, now, true);
    const replay = this.#replay;
    if (replay === undefined) return;
    this.#attempt.sendAll(replay);
    if (!replay.ended) this.#exchange.resumeBody();
  }

  // ── hedging ──

  #hedge(now: Millis): void {
    const { budget, stats, balancer } = this.#plan.service;
    if (this.#retriesLeft <= 0 || balancer.shedding) return;
    // What is still being sent could not be sent twice.
    const body = this.#replay;
    if (body !== undefined && !(body.ended && body.complete)) return;
    const first = this.#attempt!;
    this.#tried.push(first.endpoint);
    const other = this.#pick(now);
    if (other === undefined || other === first.endpoint) return;
    if (!budget.tryWithdraw(now)) {
      stats.retriesDenied++;
      return;
    }
    this.#retriesLeft--;
    this.#resends++;
    stats.hedges++;
    const rival = this.#begin(other, now, true);
    this.#race!.rival = rival;
    if (body !== undefined) rival.sendAll(body);
  }

  /** True if the other one of two tries goes on alone. */
  #leaveRace(of: Attempt, outcome: Outcome, now: Millis): boolean {
    const other = this.#race?.leave(of, this.#attempt!);
    if (other === undefined) return false;
    of.end(outcome, now);
    this.#tried.push(of.endpoint);
    this.#attempt = other;
    return true;
  }

  /** Ends the running tries, if any. */
  #endTries(outcome: Outcome): void {
    const now = this.#ports.clock.now();
    const first = this.#attempt;
    if (first === undefined) return;
    this.#race?.leave(first, first)?.end("cancelled", now);
    first.end(outcome, now);
  }

  // ── the end ──

  #endTunnel(): void {
    const now = this.#ports.clock.now();
    this.#attempt!.complete("ok", now);
    this.#finish(now);
  }

  /** What the gateway before us is to know of its retries; undefined: that none is spent. */
  #toldLeft(): number | undefined {
    return this.#retriesLeft < this.#plan.hop.retries ? this.#retriesLeft : undefined;
  }

  #giveUp(last: Failure): void {
    const reason = reasonToTell(last, this.#asked);
    this.#failure = reason;
    this.#status = FAILURES[reason.kind].status;
    this.#answerStatus = this.#status;
    this.#finish();
    answerFailure(this.#exchange, reason, {
      self: this.#ports.self,
      untouched: !this.#touched,
      retriesLeft: this.#toldLeft(),
      trace: this.#trace?.text(undefined),
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
    entry.resends = this.#resends;
    entry.status = this.#answerStatus;
    entry.grpcStatus = this.#grpcStatus;
    entry.requestBytes = this.#requestBytes;
    entry.answerBytes = this.#answerBytes;
    entry.failure = this.#failure;
    entry.end(this.#ports.accessLog, this.#ports.clock);
  }
}
