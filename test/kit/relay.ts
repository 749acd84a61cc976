import assert from "node:assert/strict";
import { seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import type { Locale, Service } from "#model/snapshot.ts";
import { buildTables } from "#proxy/app/tables.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import type {
  AnswerHead,
  AnswerSink,
  BodySink,
  Fields,
  RequestHead,
  Stage,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { FAILURES } from "#proxy/exchange/failure.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { RequestStats, type ServiceStats } from "#proxy/observe/service_stats.ts";
import type { RelayPlan } from "#proxy/relay/plan.ts";
import { Relay } from "#proxy/relay/relay.ts";
import type { Upstreams } from "#proxy/upstream/upstreams.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";
import { SimExchange } from "#test/sim/exchange.ts";

const SELF = "core.acme.mesh" as ClusterName;
/** A gateway: only those are told that nobody has acted on their request. */
const CLIENT = {
  kind: "gateway" as const,
  address: "sim",
  id: "spiffe://a",
  cluster: "eu.acme.mesh" as ClusterName,
};

/** A client's request whose body the test sends. */
class WithBody extends SimExchange {
  body: BodySink | undefined = undefined;

  override readBody(sink?: BodySink): void {
    this.body = sink;
  }
}

/** A try whose endpoint does what the test says. */
export class Try implements UpstreamStream {
  stage: Stage = "begun";
  cancelled = false;
  readonly port: number;
  readonly sink: AnswerSink;
  /** As the endpoint sees it. */
  readonly head: RequestHead;
  sent = 0;

  constructor(port: number, head: RequestHead, sink: AnswerSink) {
    this.port = port;
    this.head = head;
    this.sink = sink;
  }

  /** What its head says, as a field of it. */
  said(name: string): string | undefined {
    return fieldValue(this.head.fields, name);
  }

  /** Answers and ends. */
  end(status: number, fields: Fields = []): void {
    this.answer(status, fields);
    if (!this.cancelled) this.sink.onAnswerEnd(undefined);
  }

  answer(status: number, fields: Fields = [], body = 0): void {
    this.sink.onAnswer({ status, reason: "", fields, body, upgrade: undefined });
  }
  sendBody(chunk: Buffer): boolean {
    this.sent += chunk.length;
    return true;
  }
  sendEnd(): void {}
  resume(): void {}
  cancel(): void {
    this.cancelled = true;
  }
}

/** Relays whose endpoints do what the test says, in virtual time. */
export class RelayStand {
  readonly clock = new VirtualClock();
  readonly wheel = new TimerWheel(this.clock);
  readonly tries: Try[] = [];
  /** Of the tries to come. */
  stage: Stage = "begun";
  /** Who asks. */
  client: Peer = CLIENT;
  /** Where the service is. */
  place: Locale["kind"] = "local";

  /** A service at these ports and requests to it. @param change of what is known of it. */
  serviceAt(ports: readonly number[], change: (service: Service) => void = () => {}) {
    const { clock, wheel } = this;
    const stats = new RequestStats();
    const snapshot = simpleSnapshot(ports);
    for (const one of snapshot.services) {
      one.locales[0]!.kind = this.place;
      change(one);
    }
    const tables = buildTables(snapshot, undefined, stats, clock.now());
    const service = tables.services.get("origin.shop" as ServiceName)!;
    const upstreams: Upstreams = {
      open: ({ port }, head, sink) => {
        const begun = new Try(port, head, sink);
        begun.stage = this.stage;
        this.tries.push(begun);
        return begun;
      },
      retain: () => {},
      close: () => {},
    };
    const raw = { open: () => assert.fail("no raw connection is asked for") };
    const effects = { self: SELF, clock, wheel, rng: seededRng(1), upstreams, raw };
    return {
      stats: service.stats,
      service,
      endpoints: service.balancer.locales[0]!.endpoints,
      ask: (change: Partial<RelayPlan> = {}, method = "POST", body = 0, target = "/") => {
        const fields = change.isCall === true ? ["content-type", "application/grpc"] : [];
        const head: RequestHead = {
          ...{ method, target, authority: "a", fields, body },
          ...{ upgrade: undefined, takesTrailers: false },
        };
        const met: { answer?: AnswerHead } = {};
        const exchange = new WithBody(
          head,
          { peer: this.client, listener: "mesh" },
          {
            answer: (answer) => {
              met.answer = answer;
            },
            abort: () => {},
          },
        );
        const plan: RelayPlan = {
          ...{ service, head, hop: FIRST_HOP, within: undefined, foreign: false, deadlineMs: 0 },
          priority: "default",
          ...{
            forGateway: false,
            hash: undefined,
            deadlineCoversBody: false,
            isCall: false,
            tellsDeadline: false,
            tryTimeoutMs: 0,
            retry: undefined,
            session: undefined,
            sessionRest: undefined,
            data: undefined,
            debug: false,
          },
          ...{ editAnswer: undefined, mirrors: [], ...change },
        };
        new Relay(effects, exchange, plan).start();
        return Object.assign(met, { exchange });
      },
    };
  }
}

/** The kinds of failure that were counted, each as often as it was. */
export function failuresIn(stats: ServiceStats): string[] {
  return Object.keys(FAILURES).flatMap((kind, i) => Array<string>(stats.failures[i]!).fill(kind));
}
