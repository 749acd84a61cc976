import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { status as Status } from "@grpc/grpc-js";
import { EchoServer, SHAPES } from "#test/kit/grpc_echo.ts";
import { type OpenWay, openWay, WAYS, type Way } from "#test/kit/grpc_ways.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf } from "#test/kit/proxy.ts";

const REPLY_BYTES = 16_384;
/** Far more than all windows, sockets and queues on the way hold together. */
const REPLIES = 1_000;
const HELD_BYTES_MAX = 6_000_000;

/** True once a number has not changed for a while. */
function stands(number: () => number): () => boolean {
  let before = -1;
  let times = 0;
  return () => {
    const now = number();
    times = now === before ? times + 1 : 0;
    before = now;
    return times > 15;
  };
}

/** What gRPC asks of a proxy besides messages: calls spread, servers gone, readers that are slow. */
for (const way of WAYS) {
  describe(`gRPC through ${way}, under load`, { timeout: 60_000 }, () => {
    const closers: Array<() => unknown> = [];
    afterEach(async () => {
      for (const close of closers.splice(0).reverse()) await close();
    });

    async function start(count: number): Promise<{ open: OpenWay; servers: EchoServer[] }> {
      const servers = Array.from({ length: count }, (_, i) => new EchoServer(`${i}`));
      for (const server of servers) await server.start();
      closers.push(() => servers.map((server) => server.stop()));
      const ports = servers.map(({ port }) => port);
      return { open: await through(way, ports), servers };
    }

    async function through(way: Way, ports: readonly number[]): Promise<OpenWay> {
      const open = await openWay(way, ports);
      closers.push(() => open.close());
      return open;
    }

    const metric = async ({ plane }: OpenWay, name: string, labels = ""): Promise<number> =>
      counterOf(await plane.metricsText(), name, labels);

    it("spreads the calls of one client over all servers", async () => {
      const { open, servers } = await start(3);
      const client = open.client();
      const outcomes = await Promise.all(
        Array.from({ length: 300 }, (_, i) => client.call(SHAPES[i % 4]!, [{ count: 1 }])),
      );
      assert.ok(outcomes.every(({ status }) => status.code === Status.OK));
      const counts = servers.map(({ calls }) => calls.length);
      assert.equal(
        counts.reduce((sum, count) => sum + count),
        300,
      );
      for (const count of counts) assert.ok(count > 50, counts.join());
      assert.equal(await metric(open, "espalier_connections_accepted_total"), 1);
    });

    it("goes on with the others when a server is killed, and says UNAVAILABLE when none is left", async () => {
      const { open, servers } = await start(3);
      const client = open.client();
      const running = Array.from({ length: 30 }, () => client.begin("Chat", { stays: true }));
      await until(
        "all have begun",
        () => servers.reduce((n, { calls }) => n + calls.length, 0) === 30,
      );
      const [dies, ...others] = servers;
      const had = dies!.calls.length;
      dies!.stop();
      const ended: number[] = [];
      for (const call of running) void call.outcome.then(({ status }) => ended.push(status.code));
      await until("its calls have ended", () => ended.length === had);
      // It may have acted on them: nobody may repeat them.
      assert.ok(
        ended.every((code) => code === Status.UNAVAILABLE || code === Status.INTERNAL),
        `${ended}`,
      );
      const before = others.map(({ calls }) => calls.length);
      // All at once: each in turn would go to whoever has been the quicker one, however little.
      const answers = await Promise.all(Array.from({ length: 100 }, () => client.call("Unary")));
      for (const { status, replies } of answers) {
        assert.deepEqual([status.code, replies[0]!.by === "0"], [Status.OK, false], status.details);
      }
      for (const [i, { calls }] of others.entries()) assert.ok(calls.length > before[i]!);
      for (const other of others) other.stop();
      await until("all have ended", () => ended.length === 30);
      for (const shape of SHAPES) {
        const { status } = await client.call(shape);
        assert.equal(status.code, Status.UNAVAILABLE, status.details);
      }
    });

    it("says UNAVAILABLE where there never was a server, and finds one that comes", async () => {
      const port = await freePort();
      const client = (await through(way, [port])).client();
      for (const shape of SHAPES) {
        assert.equal((await client.call(shape)).status.code, Status.UNAVAILABLE);
      }
      const late = new EchoServer("late");
      await late.start(port);
      closers.push(() => late.stop());
      await until(
        "it is found",
        async () => (await client.call("Unary")).status.code === Status.OK,
      );
    });

    it("holds a server back whose client does not read, and goes on when it does", async () => {
      const { open, servers } = await start(1);
      const client = open.client();
      const ask = { count: REPLIES, size: REPLY_BYTES };
      const call = client.begin("Expand", ask);
      // Of a call that was never read of the library itself takes all.
      call.call.once!("data", () => call.call.pause!());
      await until("it has begun", () => call.replies.length > 0);
      const seen = servers[0]!.last;
      await until(
        "it goes no further",
        stands(() => seen.replied),
      );
      assert.ok(seen.replied * REPLY_BYTES < HELD_BYTES_MAX, `${seen.replied} replies are held`);
      // The other calls of the same connection are not in its way.
      assert.equal((await client.call("Unary")).status.code, Status.OK);
      call.call.resume!();
      const { replies, status } = await call.outcome;
      assert.deepEqual([status.code, replies.length], [Status.OK, REPLIES]);
      assert.ok(replies.every(({ nth }, i) => nth === i));
    });

    it("holds a client back whose server does not read", async () => {
      const { open, servers } = await start(1);
      const client = open.client();
      const call = client.begin("Collect", { stays: true });
      await until("it has begun", () => servers[0]!.last?.asked === 1);
      let written = 0;
      const go = (): void => {
        if (written++ < REPLIES) call.call.write!({ body: Buffer.alloc(REPLY_BYTES) }, go);
      };
      go();
      await until(
        "it goes no further",
        stands(() => written),
      );
      assert.ok(written * REPLY_BYTES < HELD_BYTES_MAX, `${written} messages are held`);
      assert.equal((await client.call("Unary")).status.code, Status.OK);
      call.call.cancel();
      await until("the server hears of it", () => servers[0]!.calls[0]!.cancelled);
    });

    it("bears the pings of a client that wants to be sure", async () => {
      const { open, servers } = await start(1);
      const client = open.client({
        ...{ "grpc.keepalive_time_ms": 10, "grpc.keepalive_permit_without_calls": 1 },
      });
      const call = client.begin("Chat", { stays: true });
      await until("it has pinged often", async () => {
        return (await metric(open, "espalier_http2_idle_frames_total", 'kind="ping"')) > 60;
      });
      assert.equal((await client.call("Unary")).status.code, Status.OK);
      call.call.cancel();
      await call.outcome;
      assert.equal(servers[0]!.calls.length, 2);
      assert.equal(await metric(open, "espalier_connections_accepted_total"), 1);
      assert.equal(await metric(open, "espalier_http2_floods_total"), 0);
    });
  });
}
