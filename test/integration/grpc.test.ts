import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { Metadata, status as Status } from "@grpc/grpc-js";
import { type Ask, type EchoClient, EchoServer, SHAPES, type Shape } from "#test/kit/grpc_echo.ts";
import { type OpenWay, openWay, WAYS } from "#test/kit/grpc_ways.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf } from "#test/kit/proxy.ts";

const text = (words: string): Ask => ({ body: Buffer.from(words) });
/** Asks that give one reply in any shape. */
const once = (ask: Ask = {}): Ask => ({ count: 1, ...ask });
/** Characters that gRPC escapes on the way, and some that it does not. */
const WORDS = "naïve ☃ 𝄞 100%25 \r\n\t~ end";

for (const way of WAYS) {
  describe(`gRPC through ${way}`, { timeout: 60_000 }, () => {
    const server = new EchoServer("one");
    let open: OpenWay;
    let client: EchoClient;

    before(async () => {
      open = await openWay(way, [await server.start()]);
      client = open.client();
    });
    after(async () => {
      await open.close();
      server.stop();
    });

    const seenOf = (shape: Shape) =>
      server.calls.findLast(({ path }) => path === `/espalier.test.Echo/${shape}`);

    const inEveryShape = async (act: (shape: Shape) => Promise<void>): Promise<void> => {
      await Promise.all(SHAPES.map(act));
    };

    /** A call that the server has, and does not answer. */
    async function unanswered(shape: Shape, about: Parameters<EchoClient["begin"]>[2] = {}) {
      const before = seenOf(shape);
      const call = client.begin(shape, { stays: true }, about);
      await until("the server has it", () => {
        const seen = seenOf(shape);
        return seen !== before && seen?.asked === 1;
      });
      return { call, seen: seenOf(shape)! };
    }

    it("carries messages in every shape", async () => {
      const unary = await client.call("Unary", [text("ä")]);
      assert.deepEqual([unary.status.code, unary.replies[0]!.body.toString()], [Status.OK, "ä"]);
      assert.equal(server.last.path, "/espalier.test.Echo/Unary");
      const collected = await client.call("Collect", ["a", "b", "c"].map(text));
      assert.deepEqual(
        collected.replies.map(({ body, asked }) => [body.toString(), asked]),
        [["abc", 3]],
      );
      const expanded = await client.call("Expand", [{ count: 100, size: 1_000 }]);
      assert.deepEqual(
        expanded.replies.map(({ nth, body }) => [nth, body.length]),
        Array.from({ length: 100 }, (_, nth) => [nth, 1_000]),
      );
      const none = await client.call("Expand", [{}]);
      assert.deepEqual([none.status.code, none.replies.length], [Status.OK, 0]);
    });

    it("lets both sides of a call speak in turns", async () => {
      const chat = client.begin("Chat", once(text("0")));
      for (let turn = 1; turn <= 8; turn++) {
        await until("the reply", () => chat.replies.length === turn);
        assert.equal(chat.replies.at(-1)!.body.toString(), String(turn - 1));
        if (turn < 8) chat.say(once(text(String(turn))));
      }
      chat.end();
      assert.equal((await chat.outcome).status.code, Status.OK);
    });

    it("carries metadata both ways, binary too, before and after the messages", async () => {
      const metadata = new Metadata();
      const bytes = [randomBytes(100), Buffer.alloc(0), Buffer.from([0, 255, 10])];
      for (const key of ["x-echo", "x-last"]) {
        metadata.add(key, "a, b");
        metadata.add(key, "~ c");
        for (const value of bytes) metadata.add(`${key}-bin`, value);
      }
      for (const shape of SHAPES) {
        const { initial, status } = await client.call(shape, [once()], { metadata });
        for (const [back, key] of [
          [initial!, "x-echo"],
          [status.metadata, "x-last"],
        ] as const) {
          assert.deepEqual(back.get(key).join(", "), "a, b, ~ c", shape);
          assert.deepEqual(back.get(`${key}-bin`), bytes, shape);
        }
      }
    });

    it("tells in what words a call has failed", async () => {
      for (const shape of SHAPES) {
        const metadata = new Metadata();
        metadata.add("x-last-bin", Buffer.from([1, 2, 3]));
        for (const code of [Status.INVALID_ARGUMENT, Status.UNAVAILABLE, 16, 99]) {
          const asked = { code, words: WORDS };
          const { replies, status } = await client.call(shape, [asked], { metadata });
          assert.deepEqual([status.code, status.details, replies.length], [code, WORDS, 0]);
          assert.deepEqual(status.metadata.get("x-last-bin"), [Buffer.from([1, 2, 3])]);
        }
        // Once its first metadata has gone the status is in trailers of their own.
        metadata.add("x-echo", "first");
        const asked = { code: Status.ABORTED, words: "", count: 3 };
        const { replies, initial, status } = await client.call(shape, [asked], { metadata });
        assert.equal(status.code, Status.ABORTED);
        assert.deepEqual(initial!.get("x-echo"), ["first"]);
        assert.equal(replies.length, shape === "Expand" || shape === "Chat" ? 3 : 0);
      }
    });

    it("is cancelled at the server at once when its client cancels", () =>
      inEveryShape(async (shape) => {
        const { call, seen } = await unanswered(shape);
        call.call.cancel();
        assert.equal((await call.outcome).status.code, Status.CANCELLED);
        await until("the server hears of it", () => seen.cancelled);
      }));

    it("has at the server what is left of its time, and ends with it", () =>
      inEveryShape(async (shape) => {
        const deadline = Date.now() + 60_000;
        await client.call(shape, [once()], { deadline });
        const { leftMs } = seenOf(shape)!;
        assert.ok(leftMs > 0 && leftMs <= 60_000, `${leftMs}`);
        const { call, seen } = await unanswered(shape, { deadline: Date.now() + 1_000 });
        assert.ok(seen.leftMs <= 1_000, `${seen.leftMs}`);
        assert.equal((await call.outcome).status.code, Status.DEADLINE_EXCEEDED);
        await until("the server hears of it", () => seen.cancelled);
      }));

    it("ends with its time although its client does not look at it", () =>
      inEveryShape(async (shape) => {
        const metadata = new Metadata();
        metadata.set("grpc-timeout", "1000m");
        const { call, seen } = await unanswered(shape, { metadata });
        const { status } = await call.outcome;
        assert.equal(status.code, Status.DEADLINE_EXCEEDED, status.details);
        await until("the server hears of it", () => seen.cancelled);
      }));

    it("ends with its time in the middle of the replies, too", async () => {
      const metadata = new Metadata();
      metadata.set("grpc-timeout", "500m");
      const call = client.begin("Expand", { count: 2, stays: true }, { metadata });
      await until("the first replies", () => call.replies.length === 2);
      const { status } = await call.outcome;
      assert.notEqual(status.code, Status.OK);
      await until("the server hears of it", () => server.last.cancelled);
    });

    it("carries four megabytes both ways", async () => {
      const body = randomBytes(4 * 1_048_576);
      for (const shape of SHAPES) {
        const { replies, status } = await client.call(shape, [once({ body })]);
        assert.equal(status.code, Status.OK, `${shape}: ${status.details}`);
        if (shape !== "Expand") assert.ok(replies[0]!.body.equals(body), shape);
        else assert.equal(replies[0]!.body.length, body.length);
      }
    });

    it("leaves packed messages packed", async () => {
      // The library packs what clients say; its servers do not.
      const bytes = async (): Promise<number> =>
        counterOf(await open.plane.metricsText(), "espalier_request_body_bytes_total");
      const body = Buffer.alloc(1_000_000, "x");
      for (const algorithm of [1, 2]) {
        const packing = open.client({ "grpc.default_compression_algorithm": algorithm });
        const before = await bytes();
        for (const shape of SHAPES) {
          const { replies, status } = await packing.call(shape, [once({ body })]);
          assert.equal(status.code, Status.OK, status.details);
          assert.ok(replies[0]!.body.equals(body), shape);
        }
        assert.ok((await bytes()) - before < 100_000, "it was sent unpacked");
      }
    });

    it("says that nobody has such a method, in the server's words or in ours", async () => {
      const unknown = await client.callAt("/espalier.test.Echo/Nothing");
      assert.equal(unknown.code, Status.UNIMPLEMENTED);
      const nowhere = await client.callAt("/espalier.test.Nowhere/Unary");
      assert.equal(nowhere.code, Status.UNIMPLEMENTED);
      assert.match(nowhere.details, /route/);
    });
  });
}
