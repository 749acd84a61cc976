import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { seededRng } from "#kernel/rng.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { HealthCheck } from "#model/health_check.ts";
import type { ServiceName } from "#model/names.ts";
import type { ServiceTls } from "#model/snapshot.ts";
import type { AnswerSink, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { type FailureName, failure } from "#proxy/exchange/failure.ts";
import type { CheckTarget } from "#proxy/health/check_request.ts";
import { EndpointChecker, type EndpointVerdict } from "#proxy/health/endpoint_checker.ts";
import type { RawUpstreams, Upstreams } from "#proxy/upstream/upstreams.ts";

const SERVICE = "menu.shop" as ServiceName;
const POLICY = {
  intervalMs: 10_000,
  timeoutMs: 1_000,
  unhealthyThreshold: 2,
  healthyThreshold: 2,
};
const HTTP: HealthCheck = {
  ...POLICY,
  http: { path: "/healthz", statuses: [{ from: 200, to: 299 }] },
};
const TCP: HealthCheck = { ...POLICY, tcp: {} };
const GRPC: HealthCheck = { ...POLICY, grpc: { service: "shop.Menu" } };

/** What an endpoint does with a check: a status, a failure, silence, or an answer without end. */
type Manner = number | FailureName | "silent" | "endless";

/** A checker, the endpoint that it asks, and what became of it. */
function checked(check: HealthCheck, targets = [target(check)]) {
  const clock = new VirtualClock();
  const stall = { ms: 0 };
  const stalling: Clock = {
    now: () => clock.now() + stall.ms,
    wall: () => clock.wall(),
    after: (ms, fn) => clock.after(ms, fn),
    every: (ms, fn) => clock.every(ms, fn),
  };
  const peer = { manner: 200 as Manner, afterMs: 5, fields: [] as readonly string[] };
  const seen = {
    at: [] as number[],
    ports: [] as number[],
    heads: [] as RequestHead[],
    bodies: [] as string[],
    introductions: [] as unknown[],
    running: 0,
    /** Streams that were cancelled when they had ended: another request may run on their connection. */
    cancelledLate: 0,
  };
  const log = new MemoryLogger();
  const verdicts: Array<EndpointVerdict & { isOwn: boolean }> = [];

  function serve(sink: AnswerSink, isRaw: boolean): UpstreamStream {
    seen.at.push(clock.now());
    seen.running++;
    let over = false;
    let answered = false;
    const end = (act: () => void): void => {
      if (over) return;
      over = true;
      seen.running--;
      act();
    };
    const { manner } = peer;
    const act = (): void => {
      if (over || manner === "silent") return;
      if (typeof manner === "string" && manner !== "endless") {
        end(() => sink.onFailure(failure(manner, "ECONNREFUSED")));
        return;
      }
      const status = isRaw ? 101 : manner === "endless" ? 200 : manner;
      answered = true;
      const fields = peer.fields.slice();
      sink.onAnswer({ status, reason: "", fields, body: -1, upgrade: undefined });
      if (isRaw) return;
      if (manner === "endless") {
        while (!over && sink.onAnswerBody(Buffer.alloc(10_000)));
      } else end(() => sink.onAnswerEnd(undefined));
    };
    clock.after(peer.afterMs, act);
    return {
      stage: "begun",
      sendBody: (chunk) => {
        seen.bodies.push(chunk.toString("hex"));
        return true;
      },
      // A connection as it is ends when both sides have.
      sendEnd: () => {
        if (isRaw && answered && peer.manner !== "endless") {
          clock.after(1, () => end(() => sink.onAnswerEnd(undefined)));
        }
      },
      resume: () => {},
      cancel: () => {
        if (over && !isRaw) seen.cancelledLate++;
        end(() => {});
      },
    };
  }

  const upstreams: Upstreams = {
    open: (endpoint, head, sink, atOnce): UpstreamStream => {
      assert.equal(atOnce, true);
      seen.heads.push(head);
      seen.ports.push(endpoint.port);
      return serve(sink, false);
    },
    retain: () => {},
    close: () => {},
  };
  const raw: RawUpstreams = {
    open: (_endpoint, introduction, sink) => {
      seen.introductions.push(introduction);
      return serve(sink, true);
    },
  };
  const checker = new EndpointChecker({
    ...{ clock: stalling, rng: seededRng(1), log, upstreams, raw },
    onVerdict: (verdict, isOwn) => verdicts.push({ ...verdict, isOwn }),
  });
  checker.setActive(true);
  checker.watch(targets);
  const said = () => verdicts.map(({ healthy, reason }) => `${healthy ? "+" : "-"} ${reason}`);
  const counts = () => Object.fromEntries(checker.counts())[SERVICE];
  return { clock, stall, peer, seen, log, verdicts, said, counts, checker };
}

function target(check: HealthCheck, port = 80, change: Partial<CheckTarget> = {}): CheckTarget {
  const endpoint = { address: "10.0.0.1", port, weight: 1 };
  return {
    service: SERVICE,
    endpoint,
    check,
    protocol: "http",
    proxyProtocol: undefined,
    ...change,
  };
}

describe("endpoint checker", () => {
  it("asks within a second, and then about every interval, never in step", () => {
    const { clock, seen, said } = checked(HTTP);
    clock.advance(120_000);
    assert.ok(seen.at[0]! <= 1_000, String(seen.at[0]));
    const gaps = seen.at.slice(1).map((at, i) => at - seen.at[i]!);
    assert.ok(
      gaps.every((gap) => gap >= 9_000 && gap <= 11_000),
      String(gaps),
    );
    assert.ok(new Set(gaps.map(Math.round)).size > 5, String(gaps));
    assert.deepEqual(said(), ["+ HTTP 200"], "said once");
    assert.equal(seen.cancelledLate, 0);
  });

  it("spreads the first checks of very many endpoints", () => {
    const targets = Array.from({ length: 5_000 }, (_, i) => target(HTTP, i + 1));
    const { clock, seen } = checked(HTTP, targets);
    clock.advance(1_000);
    assert.ok(seen.at.length < 1_200, String(seen.at.length));
    clock.advance(4_000);
    assert.equal(seen.at.length, 5_000);
  });

  it("sends a GET with the endpoint's own name, or the one that is given", () => {
    const { clock, seen } = checked(HTTP);
    clock.advance(1_000);
    const [head] = seen.heads;
    assert.deepEqual(
      [head!.method, head!.target, head!.authority],
      ["GET", "/healthz", "10.0.0.1:80"],
    );
    const named = { ...HTTP, http: { ...HTTP.http!, host: "shop.example" } };
    const other = checked(named);
    other.clock.advance(1_000);
    assert.equal(other.seen.heads[0]!.authority, "shop.example");
    const ipv6 = checked(HTTP, [
      target(HTTP, 80, { endpoint: { address: "fd00::1", port: 80, weight: 1 } }),
    ]);
    ipv6.clock.advance(1_000);
    assert.equal(ipv6.seen.heads[0]!.authority, "[fd00::1]:80");
  });

  it("calls grpc.health.v1 with the service's name", () => {
    const { clock, seen, said } = checked(GRPC);
    clock.advance(1_000);
    const [head] = seen.heads;
    assert.deepEqual(
      [head!.method, head!.target, head!.takesTrailers],
      ["POST", "/grpc.health.v1.Health/Check", true],
    );
    assert.ok(head!.fields.includes("application/grpc") && head!.fields.includes("1000m"));
    assert.deepEqual(seen.bodies, ["000000000b0a0973686f702e4d656e75"]);
    // What answers here is no gRPC.
    assert.deepEqual(said(), ["- no gRPC"]);
  });

  it("says what has changed, when it has changed for as many checks as the thresholds say", () => {
    const { clock, peer, said, log, counts } = checked(HTTP);
    clock.advance(5_000);
    peer.manner = 503;
    clock.advance(10_000);
    assert.deepEqual(said(), ["+ HTTP 200"], "one failure is not two");
    clock.advance(10_000);
    assert.deepEqual(said(), ["+ HTTP 200", "- HTTP 503"]);
    peer.manner = "connect_refused";
    clock.advance(10_000);
    assert.deepEqual(said().slice(2), ["- ECONNREFUSED"], "why is news as well");
    peer.manner = 204;
    clock.advance(21_000);
    assert.deepEqual(said().slice(3), ["+ HTTP 204"]);
    assert.deepEqual(
      log.lines.map(({ level, message, fields }) => `${level} ${message} ${fields["reason"]}`),
      [
        "debug endpoint is healthy HTTP 200",
        "warn endpoint is unhealthy HTTP 503",
        "info endpoint is healthy again HTTP 204",
      ],
    );
    assert.deepEqual(log.lines[1]!.fields, {
      ...{ service: SERVICE, endpoint: "10.0.0.1:80", reason: "HTTP 503" },
    });
    const { ok, failed, timeout, skipped } = counts()!;
    assert.deepEqual([failed, timeout, skipped], [3, 0, 0]);
    assert.ok(ok >= 3);
  });

  it("says how old a replica's data is, each time that it is told", () => {
    const { peer, clock, verdicts } = checked(HTTP);
    const says = (text: string) => {
      peer.fields = ["endpoint-load-metrics", text];
      clock.advance(12_000);
      const [last] = verdicts.slice(-1);
      return [last!.healthy, last!.stalenessMs];
    };
    assert.deepEqual(says("TEXT named_metrics.staleness_ms=700"), [true, 700]);
    assert.deepEqual(says("TEXT named_metrics.staleness_ms=90"), [true, 90]);
    const count = verdicts.length;
    assert.deepEqual(says("TEXT named_metrics.staleness_ms=90"), [true, 90]);
    assert.ok(verdicts.length > count, "the same again is news: it is as old now");
    const told = verdicts.length;
    for (const nothing of ["TEXT cpu_utilization=0.1", "nonsense"]) says(nothing);
    assert.equal(verdicts.length, told);
    peer.manner = 500;
    clock.advance(24_000);
    assert.deepEqual(says("TEXT named_metrics.staleness_ms=60"), [false, 60], "an ill one as well");
  });

  it("lets the first check decide alone", () => {
    const { clock, peer, said } = checked(HTTP);
    peer.manner = 500;
    clock.advance(1_100);
    assert.deepEqual(said(), ["- HTTP 500"]);
  });

  it("takes silence for a failure when the time is over, and leaves nothing running", () => {
    const { clock, peer, said, seen, counts } = checked(HTTP);
    peer.manner = "silent";
    clock.advance(2_001);
    assert.deepEqual(said(), ["- timeout"]);
    assert.equal(seen.running, 0);
    assert.equal(counts()!.timeout, 1);
  });

  it("does not blame the endpoint when the process itself stood still", () => {
    const { clock, peer, said, stall, counts, seen } = checked(HTTP);
    clock.advance(5_000);
    for (let i = 0; i < 4; i++) {
      // Its timer comes late, before the answer that has been there all the time.
      peer.afterMs = 1_001;
      while (seen.running === 0) clock.advance(1);
      stall.ms += 3_000;
      clock.advance(2_000);
    }
    assert.deepEqual(said(), ["+ HTTP 200"]);
    assert.equal(counts()!.timeout, 0);
  });

  it("reads no answer without end", () => {
    const { clock, peer, said, seen } = checked(HTTP);
    peer.manner = "endless";
    clock.advance(1_100);
    assert.deepEqual(said(), ["+ HTTP 200"]);
    assert.equal(seen.running, 0);
  });

  it("asks again at once where an idle connection was dead, but once only", () => {
    for (const manner of ["stale_connection", "not_sent", "refused_stream"] as const) {
      const { clock, peer, said, seen } = checked(HTTP);
      peer.manner = manner;
      clock.advance(1_100);
      assert.equal(seen.at.length, 2, manner);
      assert.deepEqual(said(), [`- ${manner}`]);
    }
  });

  it("learns nothing of the endpoint when there was no descriptor for a connection", () => {
    const { clock, peer, said, counts } = checked(HTTP);
    clock.advance(5_000);
    peer.manner = "overloaded";
    clock.advance(60_000);
    assert.deepEqual(said(), ["+ HTTP 200"]);
    assert.ok(counts()!.skipped >= 5);
  });

  it("is content with a connection, introduces itself as nobody's proxy, and closes it in peace", () => {
    const { clock, peer, said, seen } = checked(TCP, [target(TCP, 80, { proxyProtocol: "v2" })]);
    peer.manner = "silent";
    clock.advance(2_001);
    assert.deepEqual(said(), ["- timeout"]);
    peer.manner = 200;
    clock.advance(20_000);
    assert.deepEqual(said(), ["- timeout", "+ connected"]);
    assert.deepEqual(seen.introductions[0], { version: "v2", source: undefined });
    assert.equal(seen.running, 0);
  });

  it("resets a connection that does not end by itself when the time is over", () => {
    const { clock, peer, said, seen } = checked(TCP);
    peer.manner = "endless";
    clock.advance(1_006);
    assert.deepEqual(said(), ["+ connected"]);
    clock.advance(1_001);
    assert.equal(seen.running, 0);
  });

  it("keeps what it knows when a snapshot changes something else, and asks anew when the question changes", () => {
    const { clock, peer, said, seen, checker } = checked(HTTP);
    clock.advance(5_000);
    const { length } = seen.at;
    checker.watch([target({ ...HTTP }, 80), target(HTTP, 81)]);
    clock.advance(1_100);
    assert.deepEqual(seen.ports.slice(length), [81], "the first is asked at its time");
    peer.manner = 500;
    checker.watch([target({ ...HTTP, timeoutMs: 500 }, 80)]);
    clock.advance(1_100);
    assert.deepEqual(said(), ["+ HTTP 200", "+ HTTP 200", "- HTTP 500"]);
  });

  it("asks anew an endpoint that has to prove itself otherwise, or speaks another protocol", () => {
    const proof: ServiceTls = {
      ...{ ca: "system", serverName: "a.example", subjectAltNames: [], alpn: ["h2", "http/1.1"] },
    };
    const place = target(HTTP).endpoint;
    const asked = (tls: ServiceTls): CheckTarget =>
      target(HTTP, 80, { endpoint: { ...place, tls } });
    for (const [before, same, other] of [
      [asked(proof), asked({ ...proof }), asked({ ...proof, serverName: "b.example" })],
      [target(HTTP), target(HTTP), asked(proof)],
      [target(HTTP), target(HTTP), target(HTTP, 80, { protocol: "kubernetes.io/h2c" })],
    ] as const) {
      const { clock, peer, said, seen, checker } = checked(HTTP, [before]);
      peer.manner = "tls_failed";
      clock.advance(1_100);
      const { length } = seen.at;
      peer.manner = 200;
      checker.watch([same]);
      clock.advance(1_100);
      assert.equal(seen.at.length, length, "asked at its time");
      checker.watch([other]);
      clock.advance(1_100);
      assert.deepEqual(said(), ["- tls_failed", "+ HTTP 200"]);
      checker.close();
    }
  });

  it("stops with what runs when it is told to watch nothing, or to rest", () => {
    for (const stop of ["watch", "rest"] as const) {
      const { clock, peer, seen, checker } = checked(HTTP);
      peer.manner = "silent";
      while (seen.running === 0) clock.advance(1);
      if (stop === "watch") checker.watch([]);
      else checker.setActive(false);
      assert.equal(seen.running, 0);
      const { length } = seen.at;
      clock.advance(60_000);
      assert.equal(seen.at.length, length);
      assert.equal(clock.pending, 0);
    }
  });

  it("learns from others while it rests, and goes on from there when its turn comes", () => {
    const { clock, peer, said, seen, verdicts, checker } = checked(HTTP);
    checker.setActive(false);
    const known = { service: SERVICE, endpoint: "@10.0.0.1:80", healthy: false, reason: "timeout" };
    checker.learn([known, { ...known, endpoint: "@10.0.0.9:80" }]);
    assert.deepEqual(verdicts, [{ ...known, isOwn: false }], "who is not there is not judged");
    clock.advance(30_000);
    assert.equal(seen.at.length, 0);
    checker.setActive(true);
    clock.advance(1_100);
    assert.deepEqual(said(), ["- timeout"], "one success is not two");
    clock.advance(11_000);
    assert.deepEqual(said(), ["- timeout", "+ HTTP 200"]);
    // It knows better than others now.
    checker.learn([known]);
    peer.manner = 200;
    clock.advance(30_000);
    assert.equal(verdicts.length, 2);
    assert.equal(verdicts[1]!.isOwn, true);
  });
});
