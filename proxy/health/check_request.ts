import type { Millis } from "#kernel/brand.ts";
import type { HealthCheck } from "#model/health_check.ts";
import type { ServiceName } from "#model/names.ts";
import type { Endpoint, Service } from "#model/snapshot.ts";
import { FIRST_HOP, writeHop } from "#proxy/authorize/hop.ts";
import { takeLoadReport } from "#proxy/balance/load_report.ts";
import {
  type AnswerHead,
  type AnswerSink,
  BODY_UNKNOWN,
  type Fields,
  type RequestHead,
  TCP_UPGRADE,
  type UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { FAILURES, type Failure } from "#proxy/exchange/failure.ts";
import { HEALTH_CHECK_PATH, HealthAnswerReader, healthRequest } from "#proxy/health/grpc_health.ts";
import type { RawUpstreams, Upstreams } from "#proxy/upstream/upstreams.ts";

/** One endpoint that is to be checked. */
export interface CheckTarget {
  readonly service: ServiceName;
  readonly endpoint: Endpoint;
  readonly check: HealthCheck;
  /** `tcp`: it takes connections, not requests. */
  readonly protocol: Service["appProtocol"];
  /** It expects to be introduced to its clients: we are nobody's proxy now, and say so. */
  readonly proxyProtocol: Service["proxyProtocol"];
}

/** Ways in which a check ends. `skipped`: for want of something here, so it says nothing of the endpoint. */
export const CHECK_RESULTS = ["ok", "failed", "timeout", "skipped"] as const;

/** One of them. */
export type CheckResult = (typeof CHECK_RESULTS)[number];

/** How a check has ended; `reason` is for people and made of a fixed set of words and numbers. */
export interface CheckOutcome {
  readonly result: CheckResult;
  readonly reason: string;
  /** What a load report in the head of the answer says of how old data is at most; undefined: nothing. */
  readonly stalenessMs?: Millis | undefined;
}

/** What carries checks: the doors by which requests leave as well, so that what is checked is what they use. */
export interface CheckDoors {
  readonly upstreams: Upstreams;
  readonly raw: RawUpstreams;
}

/** Of an answer to a GET no more is read: its head has said all. */
const BODY_BYTES_MAX = 65_536;

/**
 * One check on its way. It has no time limit of its own: who began it cancels it when that is over, also after the
 * outcome, for a connection that was opened for the check alone may not have ended yet.
 */
export class CheckRequest {
  readonly #target: CheckTarget;
  readonly #doors: CheckDoors;
  /** Undefined: it is over, and another request may have its connection. */
  #stream: UpstreamStream | undefined = undefined;
  #onOutcome: ((outcome: CheckOutcome) => void) | undefined;
  #again = true;

  /** @param onOutcome called once, never before the constructor has returned, and not after `cancel`. */
  constructor(target: CheckTarget, doors: CheckDoors, onOutcome: (outcome: CheckOutcome) => void) {
    this.#target = target;
    this.#doors = doors;
    this.#onOutcome = onOutcome;
    this.#send();
  }

  /** Gives it up, or what is left of a connection of its own. */
  cancel(): void {
    this.#onOutcome = undefined;
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  #send(): void {
    const { grpc, http } = this.#target.check;
    if (grpc !== undefined) this.#callHealth(grpc.service);
    else if (http !== undefined) this.#get(http);
    else this.#connect();
  }

  #callHealth(service: string): void {
    const { endpoint, check } = this.#target;
    const answer = new HealthAnswerReader();
    const head = {
      ...headFor("POST", HEALTH_CHECK_PATH, authorityOf(endpoint), [
        ...["content-type", "application/grpc"],
        ...["grpc-timeout", `${check.timeoutMs}m`],
      ]),
      body: BODY_UNKNOWN,
      takesTrailers: true,
    };
    const sink = this.#sink({
      onAnswer: (said) => this.#wrong(answer.head(said)),
      onAnswerBody: (chunk) => this.#wrong(answer.body(chunk)),
      onAnswerEnd: (trailers) => {
        const { ok, reason } = answer.end(trailers);
        this.#end({ result: ok ? "ok" : "failed", reason });
      },
    });
    const stream = this.#doors.upstreams.open(endpoint, head, sink, true);
    this.#stream = stream;
    stream.sendBody(healthRequest(service));
    stream.sendEnd(undefined);
  }

  #get({ path, statuses, host }: NonNullable<HealthCheck["http"]>): void {
    const { endpoint } = this.#target;
    let outcome: CheckOutcome = { result: "failed", reason: "" };
    let left = BODY_BYTES_MAX;
    const sink = this.#sink({
      onAnswer: ({ status, fields }) => {
        const ok = statuses.some(({ from, to }) => status >= from && status <= to);
        const report = takeLoadReport(fields, false);
        const stalenessMs = report === "refused" ? undefined : report?.stalenessMs;
        outcome = { result: ok ? "ok" : "failed", reason: `HTTP ${status}`, stalenessMs };
      },
      onAnswerBody: ({ length }) => {
        left -= length;
        if (left < 0) this.#endEarly(outcome);
      },
      onAnswerEnd: () => this.#end(outcome),
    });
    const head = headFor("GET", path, host ?? authorityOf(endpoint), []);
    this.#stream = this.#doors.upstreams.open(endpoint, head, sink, true);
  }

  #connect(): void {
    const { service, endpoint, protocol, proxyProtocol: version } = this.#target;
    const { upstreams, raw: connections } = this.#doors;
    const sink = this.#sink({
      onAnswer: ({ status }) => {
        const stream = this.#stream;
        const ok = status === 101;
        this.#end(
          ok
            ? { result: "ok", reason: "connected" }
            : { result: "failed", reason: `HTTP ${status}` },
        );
        // In peace: a reset would be an error in the endpoint's log. It has until `cancel` to end its side.
        stream?.sendEnd(undefined);
        this.#stream = stream;
      },
      onAnswerBody: () => {},
      onAnswerEnd: () => {},
    });
    if (endpoint.identity === undefined) {
      const introduction = version && { version, source: undefined };
      this.#stream = connections.open(endpoint, introduction, sink);
    } else if (protocol === "tcp") {
      // Its sidecar makes the connection, and the introduction.
      const fields: Fields = [];
      writeHop(fields, { ...FIRST_HOP, service, retries: 0 });
      const head = { ...headFor("GET", "/", service, fields), upgrade: TCP_UPGRADE };
      this.#stream = upstreams.open(endpoint, head, sink, true);
    } else this.#stream = connections.open(endpoint, undefined, sink);
  }

  #sink(parts: {
    readonly onAnswer: (head: AnswerHead) => void;
    readonly onAnswerBody: (chunk: Buffer) => void;
    readonly onAnswerEnd: (trailers: Fields | undefined) => void;
  }): AnswerSink {
    return {
      onInterim() {},
      onAnswer: parts.onAnswer,
      onAnswerBody: (chunk) => {
        parts.onAnswerBody(chunk);
        return true;
      },
      onAnswerEnd: parts.onAnswerEnd,
      onRequestDrain() {},
      onFailure: (failed) => this.#onFailure(failed),
    };
  }

  #onFailure({ kind, detail }: Failure): void {
    if (this.#onOutcome === undefined) return;
    if (this.#again && LEFT_BEHIND.has(kind)) {
      this.#again = false;
      this.#send();
      return;
    }
    const reason = kind === "connect_refused" && /^E[A-Z_]+$/.test(detail) ? detail : kind;
    this.#end({ result: FAILURES[kind].source === "local" ? "skipped" : "failed", reason });
  }

  #wrong(reason: string | undefined): void {
    if (reason !== undefined) this.#endEarly({ result: "failed", reason });
  }

  #endEarly(outcome: CheckOutcome): void {
    this.#stream?.cancel();
    this.#end(outcome);
  }

  #end(outcome: CheckOutcome): void {
    const onOutcome = this.#onOutcome;
    this.#onOutcome = undefined;
    this.#stream = undefined;
    onOutcome?.(outcome);
  }
}

/** A connection that somebody else had left idle was going, or is: a new one tells. Checks may be repeated. */
const LEFT_BEHIND: ReadonlySet<Failure["kind"]> = new Set<Failure["kind"]>([
  "not_sent",
  "stale_connection",
  "refused_stream",
]);

function headFor(method: string, target: string, authority: string, fields: Fields): RequestHead {
  return {
    ...{ method, target, authority },
    fields: [...fields, "user-agent", "espalier-health-check"],
    body: 0,
    upgrade: undefined,
    takesTrailers: false,
  };
}

function authorityOf({ address, port }: Endpoint): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address.toLowerCase()}:${port}`;
}
