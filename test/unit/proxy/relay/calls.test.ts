import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { GrpcStatus } from "#proxy/exchange/grpc.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { METHODS_MAX } from "#proxy/observe/grpc_stats.ts";
import type { ServiceStats } from "#proxy/observe/service_stats.ts";
import { failuresIn, RelayStand } from "#test/kit/relay.ts";

const status = (code: number): Fields => ["grpc-status", String(code)];
const { UNAVAILABLE, NOT_FOUND, INTERNAL, OK, UNIMPLEMENTED } = GrpcStatus;

/** Retries of a route that lists UNAVAILABLE. */
const ON_UNAVAILABLE = {
  statuses: undefined,
  grpcStatuses: new Set<number>([UNAVAILABLE]),
  attempts: undefined,
  backoffMs: 0,
};

describe("a call of gRPC", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
  });

  /** Method, status and number, as counted. */
  const counted = (stats: ServiceStats): string[] =>
    [...(stats.grpc?.all() ?? [])].flatMap(({ service, method, statuses }) =>
      [...statuses].flatMap((n, code) => (n > 0 ? [`${service}/${method} ${code} ${n}`] : [])),
    );
  const failures = (of: { readonly outlier: { readonly failures: number } }): number =>
    of.outlier.failures;

  describe("is sent again", () => {
    it("if an answer without messages has a status that its route lists", () => {
      const { ask, stats, endpoints } = stand.serviceAt([1, 2]);
      const met = ask({ isCall: true, retry: ON_UNAVAILABLE });
      stand.tries[0]!.answer(200, status(UNAVAILABLE));
      assert.ok(stand.tries[0]!.cancelled);
      stand.tries[1]!.answer(200, status(OK));
      stand.tries[1]!.sink.onAnswerEnd(undefined);
      assert.deepEqual(met.answer!.fields, [...status(OK), "x-mesh-retries", "2"]);
      assert.deepEqual(failuresIn(stats), ["retryable_status"]);
      assert.deepEqual(endpoints.map(failures).sort(), [0, 1]);
    });

    it("if something before its endpoint has answered in HTTP what that status stands for", () => {
      const { ask } = stand.serviceAt([1, 2]);
      ask({ isCall: true, retry: ON_UNAVAILABLE });
      stand.tries[0]!.answer(503, ["content-type", "text/html"], 20);
      assert.equal(stand.tries.length, 2);
    });

    it("when the endpoint wants it, if it says so", () => {
      const { ask } = stand.serviceAt([1, 2]);
      ask({ isCall: true, retry: ON_UNAVAILABLE });
      stand.tries[0]!.answer(200, [...status(UNAVAILABLE), "grpc-retry-pushback-ms", "400"]);
      stand.clock.advance(300);
      assert.equal(stand.tries.length, 1);
      stand.clock.advance(200);
      assert.equal(stand.tries.length, 2);
    });
  });

  describe("is not sent again", () => {
    for (const [why, fields, body, retry] of [
      ["for a status that its route does not list", status(INTERNAL), 0, ON_UNAVAILABLE],
      ["without a route that lists statuses", status(UNAVAILABLE), 0, undefined],
      ["once its answer has begun", [], -1, ON_UNAVAILABLE],
      [
        "if the endpoint wants it left alone",
        [...status(UNAVAILABLE), "grpc-retry-pushback-ms", "-1"],
        0,
        ON_UNAVAILABLE,
      ],
    ] as const) {
      it(why, () => {
        const { ask } = stand.serviceAt([1, 2]);
        const met = ask({ isCall: true, retry });
        const [first] = stand.tries;
        first!.answer(200, [...fields], body);
        first!.sink.onAnswerEnd(body === 0 ? undefined : status(UNAVAILABLE));
        assert.equal(stand.tries.length, 1);
        assert.equal(met.answer!.status, 200);
      });
    }

    it("if it is none of gRPC, whatever it says of a status", () => {
      const { ask } = stand.serviceAt([1, 2]);
      ask({ retry: ON_UNAVAILABLE });
      stand.tries[0]!.answer(200, status(UNAVAILABLE));
      assert.equal(stand.tries.length, 1);
    });
  });

  for (const [code, against] of [
    [OK, 0],
    [NOT_FOUND, 0],
    [GrpcStatus.DEADLINE_EXCEEDED, 0],
    [GrpcStatus.UNKNOWN, 1],
    [INTERNAL, 1],
    [UNAVAILABLE, 1],
  ] as const) {
    it(`speaks against its endpoint ${against} times by status ${code}`, () => {
      const { ask, endpoints } = stand.serviceAt([1]);
      ask({ isCall: true });
      stand.tries[0]!.answer(200, [], -1);
      stand.tries[0]!.sink.onAnswerEnd(status(code));
      assert.deepEqual(endpoints.map(failures), [against]);
    });
  }

  describe("that a gateway further on has failed", () => {
    const FAILED = ["content-type", "text/plain", "x-mesh-failed", "closed_early"];

    it("is told so in gRPC's words, or in the gateway's to another gateway", () => {
      for (const client of [anonymous("10.0.0.1", 1), stand.client]) {
        const far = new RelayStand();
        far.place = "sibling";
        far.client = client;
        const met = far.serviceAt([1]).ask({ isCall: true });
        far.tries[0]!.answer(502, [...FAILED], 16);
        if (!far.tries[0]!.cancelled) far.tries[0]!.sink.onAnswerEnd(undefined);
        const { status, fields } = met.answer!;
        if (client.kind === "anonymous") {
          assert.equal(status, 200);
          assert.equal(fields[fields.indexOf("grpc-status") + 1], String(UNAVAILABLE));
        } else {
          assert.equal(status, 502);
          assert.equal(fields[fields.indexOf("x-mesh-failed") + 1], "closed_early");
        }
      }
    });

    it("passes as it is if an endpoint of our own says it, or says a kind that there is not", () => {
      for (const [place, kind] of [
        ["local", "closed_early"],
        ["sibling", "toString"],
      ] as const) {
        const far = new RelayStand();
        far.place = place;
        far.client = anonymous("10.0.0.1", 1);
        const met = far.serviceAt([1]).ask({ isCall: true });
        far.tries[0]!.answer(502, ["x-mesh-failed", kind], 16);
        far.tries[0]!.sink.onAnswerEnd(undefined);
        assert.deepEqual([met.answer!.status, met.answer!.fields], [502, []]);
      }
    });
  });

  describe("is counted", () => {
    const call = (
      { ask }: ReturnType<RelayStand["serviceAt"]>,
      target: string,
      end: (sink: RelayStand["tries"][number]) => void,
    ): void => {
      ask({ isCall: true }, "POST", 0, target);
      end(stand.tries.at(-1)!);
    };
    const answered = (code: number) => (one: RelayStand["tries"][number]) => {
      one.answer(200, [], -1);
      one.sink.onAnswerEnd(status(code));
    };

    it("by method and status, from the first call on that a method has answered", () => {
      const service = stand.serviceAt([1]);
      call(service, "/shop.Menu/Get", answered(UNAVAILABLE));
      call(service, "/shop.Menu/Get", answered(OK));
      call(service, "/shop.Menu/Get", answered(UNAVAILABLE));
      call(service, "/shop.Menu/List", answered(NOT_FOUND));
      assert.deepEqual(counted(service.stats), [
        "shop.Menu/Get 0 1",
        "shop.Menu/Get 14 1",
        "shop.Menu/List 5 1",
        "/ 14 1",
      ]);
    });

    it("without a name if nobody has such a method, or it is none", () => {
      const service = stand.serviceAt([1]);
      call(service, "/made.Up/Name", answered(UNIMPLEMENTED));
      for (const bad of ["/", "/a", "/a/b/c", "/a b/c", `/${"x".repeat(200)}/y`, "/a/b?c"]) {
        call(service, bad, answered(OK));
      }
      assert.deepEqual(counted(service.stats), ["/ 0 6", "/ 12 1"]);
    });

    it("without a name beyond a bound", () => {
      const service = stand.serviceAt([1]);
      for (let i = 0; i < METHODS_MAX + 5; i++) call(service, `/a.B/M${i}`, answered(OK));
      assert.equal(counted(service.stats).length, METHODS_MAX + 1);
      assert.equal(counted(service.stats).at(-1), "/ 0 5");
    });

    it("by what our own failures mean, by what HTTP means, and as unknown where nothing is said", () => {
      const service = stand.serviceAt([1]);
      call(service, "/a.B/C", (one) => one.sink.onFailure(failure("closed_early", "")));
      call(service, "/a.B/C", (one) => {
        one.answer(401);
        one.sink.onAnswerEnd(undefined);
      });
      call(service, "/a.B/C", (one) => {
        one.answer(200, [], -1);
        one.sink.onAnswerEnd(["grpc-status", "99"]);
      });
      call(service, "/a.B/C", (one) => {
        one.answer(200, [], -1);
        one.sink.onAnswerEnd(undefined);
      });
      assert.deepEqual(counted(service.stats), ["/ 2 2", "/ 14 1", "/ 16 1"]);
    });
  });
});
