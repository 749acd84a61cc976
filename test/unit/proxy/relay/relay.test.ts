import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName, ServiceName } from "#model/names.ts";
import { buildTables } from "#proxy/app/tables.ts";
import { FIRST_HOP } from "#proxy/authorize/hop.ts";
import type {
  AnswerHead,
  AnswerSink,
  BodySink,
  RequestHead,
  Stage,
  UpstreamStream,
} from "#proxy/exchange/exchange.ts";
import { FAILURES } from "#proxy/exchange/failure.ts";
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
class Try implements UpstreamStream {
  stage: Stage = "begun";
  cancelled = false;
  readonly port: number;
  readonly sink: AnswerSink;

  constructor(port: number, sink: AnswerSink) {
    this.port = port;
    this.sink = sink;
  }

  answer(status: number): void {
    this.sink.onAnswer({ status, reason: "", fields: [], body: 0, upgrade: undefined });
  }
  sendBody(): boolean {
    return true;
  }
  sendEnd(): void {}
  resume(): void {}
  cancel(): void {
    this.cancelled = true;
  }
}

describe("a relay", () => {
  let clock: VirtualClock;
  let wheel: TimerWheel;
  let tries: Try[];
  /** Of the tries to come. */
  let stage: Stage;

  beforeEach(() => {
    clock = new VirtualClock();
    wheel = new TimerWheel(clock);
    tries = [];
    stage = "begun";
  });

  /** A service at these ports and requests to it. */
  function serviceAt(ports: readonly number[]) {
    const stats = new RequestStats();
    const tables = buildTables(simpleSnapshot(ports), undefined, stats, clock.now());
    const service = tables.services.get("origin.shop" as ServiceName)!;
    const upstreams: Upstreams = {
      open: ({ port }, _head, sink) => {
        const begun = new Try(port, sink);
        begun.stage = stage;
        tries.push(begun);
        return begun;
      },
      sever: () => {},
      retain: () => {},
      close: () => {},
    };
    const raw = { open: () => assert.fail("no raw connection is asked for") };
    const effects = { self: SELF, clock, wheel, rng: seededRng(1), upstreams, raw };
    return {
      stats: service.stats,
      endpoints: service.balancer.locales[0]!.endpoints,
      ask: (change: Partial<RelayPlan> = {}, method = "POST", body = 0) => {
        const head: RequestHead = {
          ...{ method, target: "/", authority: "a", fields: [], body },
          ...{ upgrade: undefined, takesTrailers: false },
        };
        const met: { answer?: AnswerHead } = {};
        const exchange = new WithBody(
          head,
          { peer: CLIENT, listener: "mesh" },
          {
            answer: (answer) => {
              met.answer = answer;
            },
            abort: () => {},
          },
        );
        const plan: RelayPlan = {
          ...{ service, head, hop: FIRST_HOP, within: undefined, foreign: false, deadlineMs: 0 },
          ...{
            deadlineCoversBody: false,
            tellsDeadline: false,
            tryTimeoutMs: 0,
            retry: undefined,
            session: undefined,
          },
          ...{ editAnswer: undefined, mirrors: [], ...change },
        };
        new Relay(effects, exchange, plan).start();
        return Object.assign(met, { exchange });
      },
    };
  }

  const failuresIn = (stats: ServiceStats): string[] =>
    Object.keys(FAILURES).flatMap((kind, i) => Array<string>(stats.failures[i]!).fill(kind));
  const failuresOf = (of: { readonly outlier: { readonly failures: number } }): number =>
    of.outlier.failures;

  it("holds nothing against an endpoint that a try has only waited for, and tries another", () => {
    const { ask, endpoints } = serviceAt([1, 2]);
    stage = "waits";
    const met = ask({ tryTimeoutMs: 100 });
    stage = "begun";
    clock.advance(150);
    assert.deepEqual(
      tries.map(({ cancelled }) => cancelled),
      [true, false],
      "not a byte of a POST had left",
    );
    assert.notEqual(tries[0]!.port, tries[1]!.port);
    assert.deepEqual(endpoints.map(failuresOf), [0, 0]);
    tries[1]!.answer(200);
    tries[1]!.sink.onAnswerEnd(undefined);
    assert.equal(met.answer!.status, 200);
  });

  it("calls an endpoint unreachable that takes no connection within a try's time, and tries another", () => {
    const { ask, endpoints } = serviceAt([1, 2]);
    stage = "connects";
    ask({ tryTimeoutMs: 100 });
    stage = "begun";
    clock.advance(150);
    assert.equal(tries.length, 2);
    assert.deepEqual(endpoints.map(failuresOf).sort(), [0, 2]);
  });

  it("does not repeat what may have been read when a try's time is over", () => {
    const { ask, endpoints } = serviceAt([1, 2]);
    const met = ask({ tryTimeoutMs: 100 });
    clock.advance(200);
    assert.equal(tries.length, 1);
    assert.equal(met.answer!.status, 504);
    assert.deepEqual(endpoints.map(failuresOf).sort(), [0, 1]);
  });

  for (const [at, failures, refused] of [
    ["waits", 0, "deadline"],
    ["connects", 1, "deadline"],
    ["begun", 1, undefined],
  ] as const) {
    it(`says at its deadline whether anybody can have acted on it (${at})`, () => {
      const { ask, endpoints } = serviceAt([1]);
      stage = at;
      const met = ask({ deadlineMs: 100 });
      clock.advance(200);
      const { status, fields } = met.answer!;
      assert.equal(status, 504);
      const told = fields.indexOf("x-mesh-refused");
      assert.equal(told < 0 ? undefined : fields[told + 1], refused);
      assert.deepEqual(endpoints.map(failuresOf), [failures]);
    });
  }

  it("has one try at a time, also when a try's limit would pass while the next one waits its turn", () => {
    const { ask } = serviceAt([1, 2, 3]);
    const retry = {
      statuses: undefined,
      grpcStatuses: undefined,
      attempts: undefined,
      backoffMs: 500,
    };
    ask({ tryTimeoutMs: 300, retry }, "GET");
    clock.advance(200);
    tries[0]!.answer(503);
    clock.advance(300);
    assert.equal(tries.length, 1);
    clock.advance(300);
    assert.equal(tries.length, 2);
  });

  for (const [retries, statuses] of [
    [1, [504, 200]],
    [0, [503]],
  ] as const) {
    it(`counts a status that says "not now" as what it is, tried again ${retries} times`, () => {
      const { ask, stats } = serviceAt([1, 2]);
      const met = ask({ hop: { ...FIRST_HOP, retries } }, "GET");
      for (const status of statuses) {
        const last = tries.at(-1)!;
        last.answer(status);
        if (!last.cancelled) last.sink.onAnswerEnd(undefined);
      }
      assert.equal(met.answer!.status, statuses.at(-1));
      assert.deepEqual(failuresIn(stats), ["retryable_status"]);
    });
  }

  it("opens a tunnel that lives until both sides have ended it, whatever body the request had", () => {
    const { ask, stats } = serviceAt([1]);
    const met = ask({}, "GET", 1);
    met.exchange.body!.onBody(Buffer.from("x"));
    met.exchange.body!.onBodyEnd(undefined);
    tries[0]!.answer(101);
    tries[0]!.sink.onAnswerEnd(undefined);
    assert.equal(stats.tunnels, 1);
    met.exchange.body!.onBodyEnd(undefined);
    assert.equal(stats.tunnels, 0);
  });
});
