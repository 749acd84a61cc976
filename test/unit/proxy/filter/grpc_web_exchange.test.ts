import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type {
  AnswerHead,
  BodySink,
  Exchange,
  Fields,
  RequestHead,
} from "#proxy/exchange/exchange.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { anonymous } from "#proxy/exchange/peer.ts";
import { asGrpc } from "#proxy/filter/grpc_web.ts";
import { translated } from "#proxy/filter/grpc_web_exchange.ts";
import { messageOf, readFrames, readText } from "#test/kit/grpc_web_ends.ts";
import { SimExchange } from "#test/sim/exchange.ts";

/** A client and what it is told. */
class Client extends SimExchange {
  readonly events: string[] = [];
  readonly chunks: Buffer[] = [];
  body: BodySink | undefined = undefined;
  /** It reads slowly. */
  isSlow = false;

  constructor(type: string) {
    const head: RequestHead = {
      ...{ method: "POST", target: "/a.B/C", authority: "a", body: -1, upgrade: undefined },
      ...{ fields: ["content-type", type], takesTrailers: false },
    };
    const from = { peer: anonymous("192.0.2.1"), listener: "http" };
    super(head, from, { answer: () => {}, abort: () => {} });
  }

  override readBody(sink?: BodySink): void {
    this.body = sink;
  }
  override resumeBody(): void {
    this.events.push("resume");
  }
  override interim(status?: number): void {
    this.events.push(`interim ${status}`);
  }
  override answer({ status, body, fields }: AnswerHead): void {
    this.events.push(`${status} ${body} ${fields.join("|")}`);
  }
  override answerBody(chunk?: Buffer): boolean {
    this.chunks.push(Buffer.from(chunk!));
    return !this.isSlow;
  }
  override answerEnd(trailers?: Fields): void {
    this.events.push(`end ${trailers}`);
  }
  override abort({ kind, detail }: { kind: string; detail: string }): void {
    this.events.push(`abort ${kind} ${detail}`);
  }

  get said(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }
}

/** What a relay hears of a request. */
class Taker implements BodySink {
  readonly events: string[] = [];
  isSlow = false;

  onBody(chunk: Buffer): boolean {
    this.events.push(chunk.toString("latin1"));
    return !this.isSlow;
  }
  onBodyEnd(trailers: Fields | undefined): void {
    this.events.push(`end ${trailers}`);
  }
  onClientGone({ kind, detail }: { kind: string; detail: string }): void {
    this.events.push(`gone ${kind} ${detail}`);
  }
  onAnswerDrain(): void {
    this.events.push("drain");
  }
}

const TEXT = "application/grpc-web-text";
const BINARY = "application/grpc-web";
const head = (fields: Fields, body = -1, status = 200): AnswerHead => ({
  ...{ status, reason: "", fields, body, upgrade: undefined },
});
const GRPC = (): AnswerHead => head(["content-type", "application/grpc", "a", "b"]);

function meet(type: string) {
  const client = new Client(type);
  const taker = new Taker();
  const exchange: Exchange = translated(client, asGrpc(client.head), "core.acme.mesh");
  exchange.observer = taker;
  exchange.readBody(taker);
  return { client, taker, exchange };
}

describe("a call of gRPC-Web as an exchange", () => {
  it("is the client's own where nothing is to be translated", () => {
    const client = new Client("application/grpc");
    assert.equal(translated(client, asGrpc(client.head), "self"), client);
    const connection = { ...client.head };
    assert.equal(translated(client, connection, "self"), client);
  });

  it("passes on what the request says, decoded, as the endpoint takes it", () => {
    const { client, taker, exchange } = meet(TEXT);
    const body = client.body!;
    assert.ok(body.onBody(Buffer.from("Zm9vY")));
    assert.ok(body.onBody(Buffer.from("m")));
    assert.deepEqual(taker.events, ["foo"]);
    taker.isSlow = true;
    assert.ok(!body.onBody(Buffer.from("FyZg==")));
    exchange.resumeBody();
    body.onBodyEnd(undefined);
    assert.deepEqual(taker.events, ["foo", "barf", "end undefined"]);
    assert.deepEqual(client.events, ["resume"]);
  });

  it("does not look at a body of bytes", () => {
    const { client, taker } = meet(BINARY);
    assert.equal(client.body, taker);
  });

  for (const [name, say] of [
    ["has a wrong character", (body: BodySink) => body.onBody(Buffer.from("Zm9v!"))],
    [
      "ends inside a group",
      (body: BodySink) => {
        body.onBody(Buffer.from("Zm9"));
        body.onBodyEnd(undefined);
      },
    ],
  ] as const) {
    it(`that ${name} is refused once, and nobody hears more of it`, () => {
      const { client, taker } = meet(TEXT);
      say(client.body!);
      client.body!.onBody(Buffer.from("Zm9v"));
      client.body!.onBodyEnd(undefined);
      assert.equal(taker.events.length, 1);
      assert.match(taker.events[0]!, /^gone bad_request /);
      assert.equal(client.observer, undefined);
      assert.match(
        client.events[0]!,
        /^400 .*proxy-status\|core.acme.mesh; error=http_request_error/,
      );
      assert.deepEqual(client.events.slice(1), ["end undefined"]);
      assert.equal(client.said, "400 bad_request\n");
    });

    it(`that ${name} after the answer's head is cut`, () => {
      const { client, taker, exchange } = meet(TEXT);
      exchange.answer(GRPC());
      say(client.body!);
      assert.match(taker.events.at(-1)!, /^gone bad_request /);
      assert.equal(client.events.length, 2);
      assert.match(client.events[1]!, /^abort bad_request /);
    });
  }

  it("is answered message by message, wherever its bytes are cut", () => {
    const trailers = ["grpc-status", "0", "x", "y"];
    const body = Buffer.concat(["", "a", "bc", "def", "x".repeat(40)].map((one) => messageOf(one)));
    for (const type of [TEXT, BINARY]) {
      for (let cut = 0; cut <= body.length; cut++) {
        const { client, exchange } = meet(type);
        // Its length is not the one of the answer.
        exchange.answer({ ...GRPC(), body: body.length });
        // What comes lies in memory that is read into again.
        for (const piece of [body.subarray(0, cut), body.subarray(cut)]) {
          const read = Buffer.from(piece);
          assert.ok(exchange.answerBody(read));
          read.fill(0xff);
        }
        exchange.answerEnd(trailers);
        const bytes = type === TEXT ? readText(client.said) : Buffer.from(client.said, "latin1");
        assert.deepEqual(readFrames(bytes), {
          messages: ["", "a", "bc", "def", "x".repeat(40)].map((one) => Buffer.from(one)),
          ...{ trailers: "grpc-status:0\r\nx:y\r\n", rest: 0 },
        });
        assert.deepEqual(client.events, [`200 -1 a|b|content-type|${type}`, "end undefined"]);
      }
    }
  });

  it("keeps nothing of a message that has ended, and says when its client is slow", () => {
    const { client, exchange } = meet(TEXT);
    exchange.answer(GRPC());
    client.isSlow = true;
    assert.ok(!exchange.answerBody(messageOf("ab")));
    assert.deepEqual(readFrames(readText(client.said)).messages.map(String), ["ab"]);
    // Less than a group is no reason to wait: nothing was written.
    assert.ok(exchange.answerBody(Buffer.from([0])));
  });

  it("has its trailers in the head where the endpoint has them there", () => {
    for (const body of [0, -1]) {
      const { client, exchange } = meet(BINARY);
      const alone = ["content-type", "application/grpc", "grpc-status", "5", "grpc-message", "no"];
      exchange.answer(head(alone, body));
      exchange.answerEnd(undefined);
      assert.deepEqual(client.events, [
        `200 ${body} grpc-status|5|grpc-message|no|content-type|${BINARY}`,
        "end undefined",
      ]);
      assert.equal(client.said, "");
    }
    const { client, exchange } = meet(BINARY);
    exchange.answer(head(["grpc-status", "12"], 0));
    assert.deepEqual(client.events, [`200 0 grpc-status|12|content-type|${BINARY}`]);
  });

  it("that ends without a status is not taken for a good one", () => {
    for (const trailers of [undefined, ["x", "y"]]) {
      const { client, exchange } = meet(BINARY);
      exchange.answer(GRPC());
      exchange.answerEnd(trailers);
      assert.match(readFrames(Buffer.concat(client.chunks)).trailers!, /^grpc-status:2\r$/m);
    }
  });

  it("that ends inside a message is cut", () => {
    const { client, exchange } = meet(BINARY);
    exchange.answer(GRPC());
    exchange.answerBody(messageOf("abc").subarray(0, 6));
    exchange.answerEnd(["grpc-status", "0"]);
    assert.equal(client.events.at(-1), "abort answer_truncated inside a message");
    assert.equal(client.chunks.length, 1);
  });

  it("passes on what is not gRPC as it is, and what codecs say of a client", () => {
    const { client, taker, exchange } = meet(TEXT);
    exchange.interim(103, []);
    exchange.answer(head(["content-type", "text/html", "trailer", "x"], 3, 503));
    exchange.answerBody(Buffer.from("abc"));
    exchange.answerEnd(["x", "y"]);
    const [, said, end] = client.events;
    assert.deepEqual(
      [said, client.said, end],
      [...["503 3 content-type|text/html|trailer|x", "abc", "end x,y"]],
    );
    client.observer!.onAnswerDrain();
    exchange.abort(failure("deadline", "over"));
    assert.deepEqual([taker.events, client.events.at(-1)], [["drain"], "abort deadline over"]);
    assert.deepEqual(
      [client.events[0], exchange.peer, exchange.policy],
      [...["interim 103", client.peer, client.policy]],
    );
  });
});
