import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { Fields } from "#proxy/exchange/exchange.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { RelayStand } from "#test/kit/relay.ts";

const REPORT = ["endpoint-load-metrics", "TEXT named_metrics.staleness_ms=40"];

describe("load reports of endpoints", () => {
  let stand: RelayStand;

  beforeEach(() => {
    stand = new RelayStand();
    stand.client = anonymous("192.0.2.1");
  });

  /** @returns the fields that the client gets. */
  function answered(fields: Fields, trailers?: Fields, forGateway = false) {
    const { ask, endpoints } = stand.serviceAt([1]);
    const met = ask({ forGateway });
    stand.tries[0]!.answer(200, fields, -1);
    stand.tries[0]!.sink.onAnswerEnd(trailers);
    const [endpoint] = endpoints;
    return { fields: met.answer!.fields, endpoint: endpoint!, trailers };
  }

  it("are learnt from heads and from trailers, and clients see neither", () => {
    const head = answered([...REPORT, "x-a", "1"]);
    assert.equal(head.endpoint.reported?.stalenessMs(0), 40);
    assert.deepEqual(head.fields.slice(0, 2), ["x-a", "1"]);
    assert.ok(!head.fields.includes(REPORT[0]!));
    stand = new RelayStand();
    const tail = answered([], [...REPORT, "grpc-status", "0"]);
    assert.equal(tail.endpoint.reported?.stalenessMs(0), 40);
    assert.deepEqual(tail.trailers, ["grpc-status", "0"]);
  });

  it("are passed on to gateways", () => {
    assert.ok(answered([...REPORT], undefined, true).fields.includes(REPORT[0]!));
  });

  it("are counted; one that is none is removed as well", () => {
    const { fields, endpoint } = answered([REPORT[0]!, "TEXT nonsense"], [...REPORT]);
    assert.ok(!fields.includes(REPORT[0]!));
    assert.deepEqual(endpoint.locale.outliers.counts.reports, { read: 1, refused: 1 });
  });

  it("from beyond another gateway are nobody's that is known here", () => {
    stand.place = "sibling";
    const { endpoint } = answered([...REPORT]);
    assert.equal(endpoint.reported, undefined);
  });
});
