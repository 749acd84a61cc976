import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { HealthAnswerReader, healthRequest } from "#proxy/health/grpc_health.ts";

const GRPC = ["content-type", "application/grpc"];
const OK = ["grpc-status", "0"];

/** Bytes of a message, given in hex, with the prefix that says its length. */
function message(hex: string, flag = 0): Buffer {
  const body = Buffer.from(hex.replaceAll(" ", ""), "hex");
  const prefix = Buffer.from([flag, 0, 0, 0, body.length]);
  return Buffer.concat([prefix, body]);
}

/** What is made of an answer whose head, body and trailers are these. */
function judged(
  about: {
    status?: number;
    fields?: string[];
    chunks?: readonly Buffer[];
    trailers?: string[] | undefined;
  } = {},
): string {
  const { status = 200, fields = GRPC, chunks = [message("0801")] } = about;
  const trailers = "trailers" in about ? about.trailers : OK;
  const reader = new HealthAnswerReader();
  const wrong = reader.head({ status, reason: "", fields, body: -1, upgrade: undefined });
  if (wrong !== undefined) return wrong;
  for (const chunk of chunks) {
    const broken = reader.body(chunk);
    if (broken !== undefined) return broken;
  }
  const { ok, reason } = reader.end(trailers);
  return ok ? `well: ${reason}` : reason;
}

const of = (...chunks: readonly Buffer[]): string => judged({ chunks });

describe("grpc.health.v1", () => {
  it("asks for the whole server with an empty message, and for a service by its name", () => {
    assert.equal(healthRequest("").toString("hex"), "0000000000");
    assert.equal(healthRequest("a.B").toString("hex"), "0000000005" + "0a03" + "612e42");
    const long = healthRequest("s".repeat(200));
    assert.equal(long.subarray(0, 8).toString("hex"), "00000000cb" + "0ac801");
    assert.equal(long.length, 5 + 203);
  });

  it("is well only when it is SERVING", () => {
    assert.equal(of(message("0801")), "well: SERVING");
    assert.equal(of(message("0800")), "UNKNOWN");
    assert.equal(of(message("")), "UNKNOWN", "a field that is left out has its default");
    assert.equal(of(message("0802")), "NOT_SERVING");
    assert.equal(of(message("0803")), "SERVICE_UNKNOWN");
    assert.equal(of(message("0804")), "UNKNOWN", "a status of a later version");
    assert.equal(of(message("08ffffffffffffffffff01")), "UNKNOWN", "-1");
  });

  it("may come in any pieces", () => {
    const whole = message("0801");
    assert.equal(of(...Array.from(whole, (byte) => Buffer.from([byte]))), "well: SERVING");
  });

  it("may have fields that nobody knows yet, and say its own twice", () => {
    assert.equal(of(message("1005 0801")), "well: SERVING");
    assert.equal(of(message("0801 1a03616263")), "well: SERVING");
    assert.equal(of(message("0801 21 0102030405060708 2d 01020304")), "well: SERVING");
    assert.equal(of(message("0801 0802")), "NOT_SERVING", "the last one counts");
    assert.equal(of(message("0d 01000000")), "UNKNOWN", "field 1, but no varint");
  });

  for (const [what, chunks] of [
    ["nothing", []],
    ["half of a prefix", [Buffer.from([0, 0, 0])]],
    ["half of a message", [message("0801").subarray(0, 6)]],
    ["a compressed message", [message("0801", 1)]],
    ["a flag that means nothing", [message("0801", 2)]],
    ["two messages", [message("0801"), message("0801")]],
    ["a message and more", [message("0801"), Buffer.from([0])]],
    ["a length that nobody has", [Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 8, 1])]],
    ["a tag without its value", [message("08")]],
    ["a number that does not end", [message("08ffffffffffffffffffffff01")]],
    ["a number that is cut off", [message("0880")]],
    ["a field that is longer than the message", [message("0801 1aff01 00")]],
    ["a length of four gigabytes", [message("0801 1affffffff0f")]],
    ["eight bytes that are seven", [message("0801 21 01020304050607")]],
    ["a group", [message("0801 1b 1c")]],
    ["field 0", [message("0801 0001")]],
    ["a wire type that there is not", [message("0801 1f")]],
  ] as const) {
    it(`is not taken from ${what}`, () => assert.equal(of(...chunks), "malformed answer"));
  }

  it("keeps no more than it needs of an endless answer", () => {
    const reader = new HealthAnswerReader();
    const chunk = Buffer.alloc(1_000);
    assert.equal(reader.body(chunk), undefined);
    assert.equal(reader.body(chunk), "answer too long");
  });

  it("is not taken from what is not gRPC", () => {
    assert.equal(judged({ status: 404 }), "HTTP 404");
    assert.equal(judged({ status: 503 }), "HTTP 503");
    assert.equal(judged({ fields: [] }), "no gRPC");
    assert.equal(judged({ fields: ["content-type", "text/html"] }), "no gRPC");
    assert.equal(judged({ fields: ["content-type", "application/grpc-web"] }), "no gRPC");
    const proto = ["content-type", "application/grpc+proto"];
    assert.equal(judged({ fields: proto }), "well: SERVING");
  });

  it("is as the call's own status says, which may come without a body", () => {
    const inHead = (status: string) =>
      judged({ fields: [...GRPC, "grpc-status", status], chunks: [], trailers: undefined });
    assert.equal(inHead("12"), "UNIMPLEMENTED: has no grpc.health.v1");
    assert.equal(inHead("5"), "NOT_FOUND: does not know the service");
    assert.equal(inHead("14"), "grpc-status 14");
    assert.equal(inHead("0"), "malformed answer", "OK, but nothing was said");
    assert.equal(judged({ trailers: ["grpc-status", "13"] }), "grpc-status 13");
    assert.equal(judged({ trailers: undefined }), "no grpc-status", "SERVING, but cut off");
    assert.equal(judged({ trailers: ["grpc-status", "\u0000<x>"] }), "malformed grpc-status");
    assert.equal(judged({ trailers: ["grpc-status", "0, 0"] }), "malformed grpc-status");
  });

  it("takes any bytes without falling over", () => {
    const rng = seededRng(7);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Array.from({ length: rng.below(12) }, () => rng.below(256));
      const said = of(message(Buffer.from(bytes).toString("hex")));
      assert.match(said, /^(?:well: SERVING|[A-Z_]+|malformed answer)$/);
    }
  });
});
