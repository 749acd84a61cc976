import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { afterEach, describe, it } from "node:test";
import { systemClock } from "#kernel/clock.ts";
import { TimerWheel } from "#kernel/timer_wheel.ts";
import type { AnswerSink, UpstreamStream } from "#proxy/exchange/exchange.ts";
import { TcpUpstreams } from "#proxy/tcp/upstream.ts";
import { UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";
import { snapshotOf } from "#test/kit/gateway.ts";
import { until } from "#test/kit/processes.ts";
import { startPlane } from "#test/kit/proxy.ts";
import { RawClient, RawOrigin } from "#test/kit/raw.ts";

const close: Array<() => unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

const yamlOf = (port: number): string => `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: espalier, listeners: [{ name: tcp, port: 0, protocol: TCP }] }
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: all }
spec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: db, port: 80 }] }] }
---
apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: db }
spec: { ports: [{ port: 80, appProtocol: tcp }], endpoints: [{ address: 127.0.0.1, port: ${port} }] }
`;

/** A TCP listener before an endpoint that does this with each connection. */
async function through(serve: (socket: Socket) => void) {
  const origin = new RawOrigin(serve);
  await origin.start();
  close.push(() => origin.stop());
  const { plane, port } = await startPlane(snapshotOf(yamlOf(origin.port)));
  close.push(() => plane.drain(0));
  const client = (first = ""): RawClient => {
    const one = new RawClient(port, first);
    close.push(() => one.socket.destroy());
    return one;
  };
  const clients = async () => (await plane.inventory())[0]!.clients;
  return { origin, client, clients };
}

/** The endpoint's side alone, read by somebody who takes one piece and then waits. */
async function slowly(serve: (socket: Socket) => void) {
  const origin = new RawOrigin(serve);
  await origin.start();
  close.push(() => origin.stop());
  const wheel = new TimerWheel(systemClock);
  close.push(() => wheel.close());
  const counters = new UpstreamCounters();
  const upstreams = new TcpUpstreams({ wheel, counters, connectTimeoutMs: () => 1_000 });
  const heard = { said: "", end: "" };
  let patient = false;
  const sink: AnswerSink = {
    onInterim: () => {},
    onAnswer: () => {},
    onAnswerBody: (chunk) => {
      heard.said += chunk.latin1Slice();
      return patient;
    },
    onAnswerEnd: () => {
      heard.end += "ended";
    },
    onRequestDrain: () => {},
    onFailure: ({ kind }) => {
      heard.end += kind;
    },
  };
  const stream = upstreams.open(
    { address: "127.0.0.1", port: origin.port, weight: 1 },
    undefined,
    sink,
  );
  const readOn = (): void => {
    patient = true;
    stream.resume();
  };
  return { origin, counters, stream, heard, readOn };
}

/** More than the kernel takes in at once. */
const LOAD = Buffer.alloc(8_000_000, "x");

describe("an endpoint of a TCP tunnel that goes while it is written to", {
  timeout: 60_000,
}, () => {
  it("is heard to its last byte when it resets, and the client can tell that it did", async () => {
    const { client } = await through((socket) => {
      socket.removeAllListeners("data");
      socket.once("readable", () => {
        socket.read(1);
        // With the rest unread: a reset.
        socket.write("the last words", () => socket.destroy());
      });
    });
    for (let i = 0; i < 20; i++) {
      const one = client();
      let error: string | undefined;
      one.socket.on("error", ({ code }: NodeJS.ErrnoException) => {
        error = code;
      });
      one.socket.write(LOAD);
      await until("it is over", () => one.closed);
      assert.equal(one.said, "the last words");
      assert.match(error ?? "", /ECONNRESET|EPIPE/);
    }
  });

  it("is heard to its last byte by who reads later, when it had ended before", async () => {
    const answer = "y".repeat(1_000_000);
    const { origin, client, clients } = await through((socket) => socket.end(answer));
    const one = client("go");
    one.socket.pause();
    const said = async () => (await clients())[0]?.bytesOut === answer.length;
    await until("the endpoint has said all", said);
    // It answers with resets what still comes.
    origin.sockets[0]!.destroy();
    one.send(LOAD);
    await until("it is sent", () => one.socket.writableLength === 0);
    one.socket.resume();
    await until("the answer's end", () => one.ended || one.closed);
    assert.equal(one.said.length, answer.length);
    assert.ok(one.ended);
    one.socket.end();
    await until("it is let go", async () => (await clients()).length === 0);
  });

  it("is heard by a slow reader: what lay unread when a write failed, then the reset", async () => {
    const { origin, stream, heard, readOn } = await slowly((socket) => {
      socket.removeAllListeners("data");
      socket.write("first;");
    });
    await until("it is held up", () => heard.said === "first;");
    const [socket] = origin.sockets;
    stream.sendBody(Buffer.from("unread"));
    await until("it has come", () => socket!.bytesRead > 0);
    await writeAfter(stream, () =>
      socket!.write("the last words", () => socket!.resetAndDestroy()),
    );
    assert.deepEqual(heard, { said: "first;", end: "" });
    readOn();
    await until("its end", () => heard.end !== "");
    assert.deepEqual(heard, { said: "first;the last words", end: "answer_truncated" });
  });

  it("is heard by a slow reader: what lay unread, then the end that it had said", async () => {
    // As much as the other side's kernel takes in although nobody reads.
    const answer = "y".repeat(20_000);
    const { origin, counters, stream, heard, readOn } = await slowly((socket) => {
      socket.write("first;");
    });
    await until("it is held up", () => heard.said === "first;");
    const [socket] = origin.sockets;
    await writeAfter(stream, () => socket!.end(answer, () => socket!.destroy()));
    assert.deepEqual(heard, { said: "first;", end: "" });
    readOn();
    await until("its end", () => heard.end !== "");
    assert.equal(heard.said.length, "first;".length + answer.length);
    // Nobody is reset for what is sent now.
    assert.ok(stream.sendBody(LOAD));
    stream.sendEnd(undefined);
    assert.equal(heard.end, "ended");
    assert.equal(counters.closed.tunnel, 1);
  });
});

/** Lets the endpoint go as `act` does, and writes to it until that has failed. */
async function writeAfter(stream: UpstreamStream, act: () => void): Promise<void> {
  act();
  for (let i = 0; i < 20; i++) {
    stream.sendBody(Buffer.from("more"));
    await new Promise((resolve) => setImmediate(resolve));
  }
}
