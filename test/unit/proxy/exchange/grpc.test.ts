import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FAILURES, type FailureName } from "#proxy/exchange/failure.ts";
import {
  GrpcStatus,
  grpcStatusOf,
  grpcTimeout,
  grpcTypeOf,
  isGrpc,
  withGrpcTimeout,
} from "#proxy/exchange/grpc.ts";

describe("gRPC", () => {
  it("is told by its content type", () => {
    const of = (type: string) => grpcTypeOf(["a", "b", "content-type", type]);
    const plain = { web: false, text: false, codec: "" };
    for (const type of ["application/grpc", "Application/gRPC", "application/grpc;x=y"]) {
      assert.deepEqual(of(type), plain, type);
    }
    assert.deepEqual(of("APPLICATION/GRPC+Proto ; x=y"), { ...plain, codec: "+proto" });
    const web = { ...plain, web: true };
    assert.deepEqual(of("application/grpc-web"), web);
    assert.deepEqual(of("application/gRPC-Web+json"), { ...web, codec: "+json" });
    for (const type of ["application/grpc-web-text", "application/grpc-web-text-base64;x=y"]) {
      assert.deepEqual(of(type), { ...web, text: true }, type);
    }
    for (const type of [
      ...["", "application/json", "application/grpcx", "application/grpc-webx"],
      ...["application/grpc, application/grpc", "application/grpc x", "xapplication/grpc"],
    ]) {
      assert.equal(of(type), undefined, type);
    }
    assert.equal(grpcTypeOf([]), undefined);
    const isOwn = (type: string): boolean => isGrpc(["content-type", type]);
    assert.deepEqual(["application/Grpc+x_y", "application/grpc-web", "text/plain"].map(isOwn), [
      true,
      false,
      false,
    ]);
  });

  it("says its deadline in units of its own", () => {
    const of = (value: string) => grpcTimeout(["grpc-timeout", value]);
    assert.equal(of("1H"), 3_600_000);
    assert.equal(of("2M"), 120_000);
    assert.equal(of("15S"), 15_000);
    assert.equal(of("99999999m"), 99_999_999);
    assert.equal(of("5000u"), 5);
    assert.equal(of("1n"), 1);
    for (const bad of ["", "1", "m", "100000000m", "-1S", "1s", "1.5S", "1S, 2S"]) {
      assert.equal(of(bad), undefined, bad);
    }
    assert.equal(grpcTimeout([]), undefined);
  });

  it("is told what remains of it, never nothing and never more than eight digits", () => {
    const after = (leftMs: number) => withGrpcTimeout(["grpc-timeout", "9S", "a", "b"], leftMs)[1];
    assert.equal(after(1_234.4), "1234m");
    assert.equal(after(-5), "1m");
    assert.equal(after(3.6e8), "360000S");
    assert.equal(after(99_999_999 * 60_000), "99999999M");
    assert.equal(after(99_999_999 * 3_600_000), "99999999H");
    const fields = ["grpc-timeout", "9S"];
    withGrpcTimeout(fields, 1);
    assert.deepEqual(fields, ["grpc-timeout", "9S"]);
  });

  it("has a status for every failure", () => {
    const { UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED } = GrpcStatus;
    const expected: Partial<Record<FailureName, number>> = {
      connect_refused: UNAVAILABLE,
      link_down: UNAVAILABLE,
      no_candidate: UNAVAILABLE,
      deadline: DEADLINE_EXCEEDED,
      try_timeout: DEADLINE_EXCEEDED,
      overloaded: RESOURCE_EXHAUSTED,
      no_route: UNIMPLEMENTED,
      forbidden: GrpcStatus.PERMISSION_DENIED,
      bad_request: GrpcStatus.INTERNAL,
    };
    const known = new Set<number>(Object.values(GrpcStatus));
    for (const kind of Object.keys(FAILURES) as FailureName[]) {
      assert.ok(known.has(grpcStatusOf(kind)), kind);
      if (expected[kind] !== undefined) assert.equal(grpcStatusOf(kind), expected[kind], kind);
    }
  });
});
