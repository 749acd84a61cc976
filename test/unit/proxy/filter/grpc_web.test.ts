import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Fields, RequestHead } from "#proxy/exchange/exchange.ts";
import { fieldValue } from "#proxy/exchange/fields.ts";
import { GrpcMessages } from "#proxy/filter/grpc_messages.ts";
import { asGrpc, readGrpcWeb, trailersFrame } from "#proxy/filter/grpc_web.ts";
import { messageOf } from "#test/kit/grpc_web_ends.ts";

function ask(fields: Fields, change: Partial<RequestHead> = {}): RequestHead {
  const head = { method: "POST", target: "/a.B/C", authority: "a", fields, body: 8 };
  return { ...head, upgrade: undefined, takesTrailers: false, ...change };
}

describe("gRPC-Web", () => {
  it("is told by its content type", () => {
    const of = (type: string) => {
      const call = readGrpcWeb(ask(["content-type", type]));
      return call && [call.grpcType, call.sendsText, call.answerType];
    };
    assert.deepEqual(of("application/grpc-web"), [
      "application/grpc",
      false,
      "application/grpc-web",
    ]);
    for (const type of [
      "application/grpc-web+proto",
      "Application/gRPC-Web+Proto; charset=utf-8",
    ]) {
      const proto = ["application/grpc+proto", false, "application/grpc-web+proto"];
      assert.deepEqual(of(type), proto, type);
    }
    const text = ["application/grpc", true, "application/grpc-web-text"];
    assert.deepEqual(of("application/grpc-web-text"), text);
    assert.deepEqual(of("application/grpc-web-text-base64"), text);
    assert.deepEqual(of("application/grpc-web-text+json"), [
      ...["application/grpc+json", true, "application/grpc-web-text+json"],
    ]);
    for (const type of [
      ...["application/grpc", "application/grpc-webs", "application/grpc-web-texts", "text/plain"],
      ...["", "application/grpc-web, application/grpc-web", "application/grpc-web+"],
    ]) {
      assert.equal(of(type), undefined, type);
    }
    assert.equal(readGrpcWeb(ask([])), undefined);
    const type = ["content-type", "application/grpc-web"];
    assert.equal(readGrpcWeb(ask(type, { method: "OPTIONS" })), undefined);
    assert.equal(readGrpcWeb(ask(type, { upgrade: "websocket" })), undefined);
  });

  it("is answered as `Accept` says, if it does", () => {
    const of = (type: string, accept: string) => {
      const call = readGrpcWeb(ask(["content-type", type, "accept", accept]))!;
      return [call.wantsText, call.answerType];
    };
    const binary = "application/grpc-web+proto";
    const text = "application/grpc-web-text";
    assert.deepEqual(of(binary, "*/*"), [false, binary]);
    assert.deepEqual(of(text, "*/*"), [true, text]);
    assert.deepEqual(of(binary, text), [true, "application/grpc-web-text+proto"]);
    assert.deepEqual(of(text, binary), [false, binary]);
    assert.deepEqual(of(binary, `text/html, ${text}+json;q=1, */*`), [true, `${text}+json`]);
    assert.deepEqual(of(binary, `x${text}`), [false, binary]);
  });

  it("is the same call in gRPC", () => {
    const web = ask([
      ...["host", "a", "content-type", "application/grpc-web-text+proto", "x-grpc-web", "1"],
      ...["accept", "application/grpc-web-text", "accept-encoding", "gzip", "grpc-timeout", "1S"],
    ]);
    const before = structuredClone(web);
    const head = asGrpc(web);
    assert.deepEqual(head.fields, [
      ...["host", "a", "content-type", "application/grpc+proto", "grpc-timeout", "1S"],
      ...["grpc-accept-encoding", "identity"],
    ]);
    assert.deepEqual([head.takesTrailers, head.body], [true, -1]);
    assert.deepEqual(web, before);
    const empty = asGrpc({ ...web, body: 0, fields: [...web.fields, "grpc-accept-encoding", "x"] });
    assert.deepEqual([empty.body, fieldValue(empty.fields, "grpc-accept-encoding")], [0, "x"]);
    const other = ask(["content-type", "application/grpc"]);
    assert.equal(asGrpc(other), other);
  });

  it("has trailers in a frame, and never no status", () => {
    const lines = (trailers: Fields): string => {
      const frame = trailersFrame(trailers);
      assert.deepEqual([frame[0], frame.readUInt32BE(1)], [0x80, frame.length - 5]);
      return frame.toString("latin1", 5);
    };
    assert.equal(
      lines(["grpc-status", "0", "a", "x", "a", "\xe4"]),
      "grpc-status:0\r\na:x\r\na:\xe4\r\n",
    );
    assert.match(lines(["a", "b"]), /^a:b\r\ngrpc-status:2\r\ngrpc-message:[^\r]+\r\n$/);
  });

  it("knows where messages end, wherever they are cut", () => {
    const body = Buffer.concat(["", "a", "", "x".repeat(300), "bc"].map((one) => messageOf(one)));
    const ends = [5, 11, 16, 321, 328];
    for (let cut = 0; cut <= body.length; cut++) {
      const messages = new GrpcMessages();
      const found: number[] = [];
      let before = 0;
      for (const chunk of [body.subarray(0, cut), body.subarray(cut)]) {
        for (let at = 0; at < chunk.length; ) {
          at = messages.next(chunk, at);
          if (messages.isBetween) found.push(before + at);
        }
        before += chunk.length;
        assert.equal(messages.isBetween, before === 0 || ends.includes(before), `${before}`);
      }
      assert.deepEqual(found, ends);
    }
  });

  it("reads of a message of four gigabytes what has come", () => {
    const messages = new GrpcMessages();
    assert.equal(messages.next(Buffer.from([0, 255, 255, 255, 255, 1, 2]), 0), 7);
    assert.ok(!messages.isBetween);
  });
});
