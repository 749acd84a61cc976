import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import { VirtualClock } from "#kernel/virtual_clock.ts";
import type { ClusterName } from "#model/names.ts";
import { parseSnapshot } from "#model/snapshot.ts";
import { buildTables } from "#proxy/app/tables.ts";
import type { AnswerHead, RequestHead, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { anonymous, type Peer } from "#proxy/exchange/peer.ts";
import { RequestStats } from "#proxy/observe/service_stats.ts";
import { Dispatcher } from "#proxy/relay/dispatcher.ts";
import { must } from "#test/kit/mesh.ts";
import { simpleSnapshot } from "#test/kit/proxy.ts";
import { SimExchange } from "#test/sim/exchange.ts";

const SELF = "core.acme.mesh" as ClusterName;
const GATEWAY: Peer = {
  ...{ kind: "gateway", address: "sim", id: "spiffe://a" },
  cluster: "eu.acme.mesh" as ClusterName,
};
const NEVER: UpstreamStream = {
  ...{ stage: "begun", sendBody: () => true, sendEnd: () => {}, resume: () => {} },
  cancel: () => {},
};

/** Asks for a service in a cluster below ours. @param appProtocol what it speaks there; undefined: there is none. */
function ask(appProtocol: string | undefined, peer: Peer = anonymous("192.0.2.1")) {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const stats = new RequestStats();
  const sent: RequestHead[] = [];
  const answers: AnswerHead[] = [];
  const upstreams = {
    open: (_: unknown, head: RequestHead) => {
      sent.push(head);
      return NEVER;
    },
    ...{ sever: () => {}, retain: () => {}, close: () => {} },
  };
  const raw = { open: () => assert.fail("no raw connection is asked for") };
  const ports = { self: SELF, clock, wheel, rng: seededRng(1), upstreams, raw };
  const dispatcher = new Dispatcher(ports, stats.unrouted);
  const cluster = "eu.core.acme.mesh";
  const place = { address: "192.0.2.9", port: 15443, identity: `spiffe://acme.mesh/${cluster}/gw` };
  const { services, ...simple } = simpleSnapshot([]);
  const locales = [{ kind: "child", cluster, endpoints: [place], healthy: 1 }];
  const known = appProtocol === undefined ? [] : [{ ...services[0]!, appProtocol, locales }];
  const snapshot = parseSnapshot({ ...simple, services: known }, "test");
  dispatcher.use(buildTables(must(snapshot), undefined, stats, clock.now()));
  const head: RequestHead = {
    ...{ method: "POST", target: "/a.B/C", authority: "a", body: 10, upgrade: undefined },
    fields: ["content-type", "application/grpc-web-text", "grpc-timeout", "2S"],
    takesTrailers: false,
  };
  const on = { answer: (one: AnswerHead) => void answers.push(one), abort: () => {} };
  dispatcher.onRequest(new SimExchange(head, { peer, listener: "http" }, on));
  return { sent: sent[0], answers, clock };
}

describe("gRPC-Web on its way to another cluster", () => {
  it("is gRPC from the first proxy on, with its deadline", () => {
    const { sent, answers, clock } = ask("kubernetes.io/h2c");
    assert.equal(fieldValue(sent!.fields, "content-type"), "application/grpc");
    assert.equal(fieldValue(sent!.fields, "x-mesh-deadline"), "2000");
    assert.deepEqual([sent!.body, sent!.takesTrailers], [-1, true]);
    clock.advance(3_000);
    assert.deepEqual(
      ["content-type", "grpc-status"].map((name) => fieldValue(answers[0]!.fields, name)),
      ["application/grpc-web-text", "4"],
    );
  });

  it("stays what it is where endpoints may speak it themselves", () => {
    const { sent } = ask("http");
    assert.equal(fieldValue(sent!.fields, "content-type"), "application/grpc-web-text");
    assert.equal(sent!.body, 10);
  });

  it("that goes nowhere fails as a call, and to a gateway in HTTP", () => {
    const typeAndStatus = ({ status, fields }: AnswerHead) => [
      ...[status, fieldValue(fields, "content-type"), fieldValue(fields, "grpc-status")],
    ];
    const [toClient] = ask(undefined).answers;
    assert.deepEqual(typeAndStatus(toClient!), [200, "application/grpc-web-text", "14"]);
    const [toGateway] = ask(undefined, GATEWAY).answers;
    assert.deepEqual(typeAndStatus(toGateway!), [503, "text/plain", undefined]);
  });
});
