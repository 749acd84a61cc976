import assert from "node:assert/strict";
import { request } from "node:http";
import { afterEach, describe, it } from "node:test";
import { ErrorCode, FrameType, Setting } from "#proxy/http2/frames.ts";
import { gatewayYaml, snapshotOf } from "#test/kit/gateway.ts";
import { data } from "#test/kit/http2_ends.ts";
import { frame, type HeardFrame, word } from "#test/kit/http2_raw.ts";
import {
  type HeardRequest,
  type RawBehaviour,
  type RawHttp2Peer,
  RawHttp2Server,
} from "#test/kit/http2_raw_server.ts";
import { until } from "#test/kit/processes.ts";
import { counterOf, startPlane } from "#test/kit/proxy.ts";

const EACH = 8;
/** What is asked at once: so many GETs and so many POSTs with a body. */
const ASKED = ["GET", "POST"].flatMap((method) => Array.from({ length: EACH }, () => method));
const BODY = "right".repeat(100);

/** Of one request: the status, or that it was cut, and the body. */
interface Answer {
  readonly method: string;
  readonly status: number;
  readonly cut: boolean;
  readonly body: string;
}

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

function ask(port: number, method: string, nth: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const place = { host: "127.0.0.1", port, agent: false as const };
    const sent = request({ ...place, method, path: `/${nth}` }, (answer) => {
      let body = "";
      const end = (cut: boolean): void =>
        resolve({ method, status: answer.statusCode!, cut, body });
      answer.on("data", (chunk) => {
        body += String(chunk);
      });
      answer.on("end", () => end(false));
      answer.on("error", () => end(true));
    });
    sent.on("error", reject);
    sent.end(method === "POST" ? "abc" : undefined);
  });
}

/** An endpoint that misbehaves beside one that does not, and all the requests at once. */
async function meet(behaviour: RawBehaviour, connections = "{}") {
  const count = { bad: 0, good: 0 };
  const bad = new RawHttp2Server({
    ...behaviour,
    onRequest: (asked) => {
      count.bad++;
      behaviour.onRequest?.(asked);
    },
  });
  const good = new RawHttp2Server({
    onRequest: ({ peer, id }) => {
      count.good++;
      peer.answer(id, BODY);
    },
  });
  const ports = [await bad.start(), await good.start()];
  const yaml = gatewayYaml(["{ backendRefs: [{ name: origin, port: 80 }] }"], { origin: ports });
  const grpc = yaml.replace(
    "ports: [{ port: 80 }]",
    `ports: [{ port: 80, appProtocol: grpc }]\n  connections: ${connections}`,
  );
  const { plane, port } = await startPlane(snapshotOf(grpc));
  close.push(async () => {
    await plane.drain(0);
    bad.stop();
    good.stop();
  });
  const answers = await Promise.all(ASKED.map((method, i) => ask(port, method, i)));
  const metric = async (name: string, labels = ""): Promise<number> =>
    counterOf(await plane.metricsText(), name, labels);
  assert.ok(bad.peers.length > 0);
  // Whatever has happened, nothing is left of it.
  await until(
    "all is over",
    async () => (await metric("espalier_requests_inflight", "origin")) === 0,
  );
  return { answers, count, bad, metric };
}

const isRight = ({ status, cut, body }: Answer): boolean => status === 200 && !cut && body === BODY;

function allRight(answers: readonly Answer[]): void {
  assert.deepEqual(
    answers.filter((answer) => !isRight(answer)),
    [],
  );
}

/** That nobody was asked twice for what may have been acted upon. */
function onceEach(count: { readonly bad: number; readonly good: number }): void {
  assert.equal(count.bad + count.good, ASKED.length);
}

const RESET_AFTER: ReadonlyArray<readonly [string, (asked: HeardRequest) => Buffer[]]> = [
  ["its head", ({ peer, id }) => [peer.speech.answer(id, "200", false)]],
  ["some data", ({ peer, id }) => [peer.speech.answer(id, "200", false), data(id, "part")]],
];

/** What servers do that they should not, or may and seldom do: each on real sockets, asked much at once. */
describe("an HTTP/2 endpoint that", { timeout: 60_000 }, () => {
  for (const [what, say] of RESET_AFTER) {
    it(`resets after ${what}: the client can tell, and nobody is asked twice`, async () => {
      const { answers, count } = await meet({
        onRequest: (asked) => {
          const { peer, id } = asked;
          peer.say(...say(asked));
          // In a turn of its own, or the two would come as one.
          setImmediate(() => peer.say(peer.reset(id, ErrorCode.INTERNAL_ERROR)));
        },
      });
      onceEach(count);
      assert.ok(count.bad > 0);
      const cut = answers.filter((answer) => !isRight(answer));
      assert.equal(cut.length, count.bad);
      for (const answer of cut) assert.ok(answer.cut || answer.status === 502, answer.body);
    });
  }

  it("resets before an answer: GETs are asked elsewhere, POSTs are not", async () => {
    const { answers, count } = await meet({
      onRequest: ({ peer, id }) => peer.say(peer.reset(id, ErrorCode.INTERNAL_ERROR)),
    });
    const lost = answers.filter((answer) => !isRight(answer));
    assert.ok(lost.every(({ method, status }) => method === "POST" && status === 502));
    assert.ok(count.bad > 0);
    assert.equal(count.good, ASKED.length - lost.length);
  });

  it("refuses streams: all are asked elsewhere", async () => {
    const { answers, count } = await meet({
      onRequest: ({ peer, id }) => peer.say(peer.reset(id, ErrorCode.REFUSED_STREAM)),
    });
    allRight(answers);
    assert.ok(count.bad > 0);
    assert.equal(count.good, ASKED.length);
  });

  for (const code of [ErrorCode.NO_ERROR, ErrorCode.CANCEL]) {
    it(`resets with ${code} after the end of its answer: the answer counts`, async () => {
      const { answers, count } = await meet({
        onRequest: ({ peer, id }) => {
          peer.answer(id, BODY);
          peer.say(peer.reset(id, code));
        },
      });
      allRight(answers);
      onceEach(count);
      assert.ok(count.bad > 0);
    });
  }

  it("says GOAWAY at once: all are asked elsewhere, whatever the method", async () => {
    const { answers, count } = await meet({
      onConnect: (peer) => peer.say(goaway(0, ErrorCode.NO_ERROR)),
    });
    allRight(answers);
    assert.equal(count.good, ASKED.length);
  });

  it("says GOAWAY in the middle: what it names is waited for, the rest is asked elsewhere", async () => {
    const { answers, count } = await meet({
      onRequest: ({ peer, id }) => {
        // The first two are answered later, and all behind them never.
        if (id > 3) return;
        if (id === 3) peer.say(goaway(3, ErrorCode.NO_ERROR));
        setTimeout(() => peer.answer(id, BODY), 20);
      },
    });
    allRight(answers);
    assert.ok(count.bad > 2);
  });

  it("says GOAWAY with an error and closes: what it may have seen is not asked twice", async () => {
    const { answers, count } = await meet({
      onRequest: ({ peer, id }) => {
        peer.say(goaway(id, ErrorCode.INTERNAL_ERROR));
        peer.socket.end();
      },
    });
    const lost = answers.filter((answer) => !isRight(answer));
    assert.ok(lost.every(({ method, status }) => method === "POST" && status === 502));
    assert.ok(lost.length <= count.bad);
  });

  it("says PING between all frames: each is answered, and nothing else changes", async () => {
    const ping = (nth: number): Buffer => frame(FrameType.PING, 0, 0, Buffer.alloc(8, nth));
    const { answers, bad, count } = await meet({
      onConnect: (peer) => peer.say(ping(0)),
      onRequest: ({ peer, id }) => {
        const pieces = BODY.match(/.{1,50}/g)!;
        peer.say(ping(1), peer.speech.answer(id, "200", false), ping(2));
        for (const [nth, piece] of pieces.entries()) {
          peer.say(data(id, piece, nth === pieces.length - 1), ping(3));
        }
        peer.open.delete(id);
      },
    });
    allRight(answers);
    onceEach(count);
    const due = bad.peers.length + count.bad * (2 + BODY.length / 50);
    await until("all are answered", () => {
      const acks = bad.peers.flatMap((peer) => peer.of(FrameType.PING));
      return acks.filter(({ flags }) => flags === 1).length === due;
    });
  });

  const floods: ReadonlyArray<readonly [string, string, Buffer]> = [
    ["PING", "ping", frame(FrameType.PING, 0, 0, Buffer.alloc(8))],
    ["SETTINGS", "settings", frame(FrameType.SETTINGS, 0, 0)],
    ["window updates", "window_update", frame(FrameType.WINDOW_UPDATE, 0, 0, word(1))],
  ];
  for (const [what, kind, one] of floods) {
    it(`floods with ${what} is left, and counted; GETs go on elsewhere`, async () => {
      const flood = Buffer.concat(Array.from({ length: 3_000 }, () => one));
      const { answers, bad, count, metric } = await meet({
        // Theirs are as small as they can be: there is much room to make them larger.
        opensWindows: false,
        onRequest: ({ peer }) => peer.say(flood),
      });
      const lost = answers.filter((answer) => !isRight(answer));
      assert.ok(lost.every(({ method, status }) => method === "POST" && status === 502));
      assert.ok(count.bad > 0);
      const calmed = bad.peers.filter(({ closed }) => closed).length;
      assert.ok(calmed > 0);
      const [last] = bad.peers.find(({ closed }) => closed)!.of(FrameType.GOAWAY);
      assert.equal(last?.payload.readUInt32BE(4), ErrorCode.ENHANCE_YOUR_CALM);
      const name = "espalier_http2_floods_total";
      assert.ok((await metric(name, 'side="upstream"')) > 0, kind);
    });
  }

  for (const [what, limits] of [
    ["takes one stream at a time", [1]],
    ["takes ever fewer streams, none for a while, and then more", [5, 3, 1, 0, 2, 1]],
  ] as const) {
    it(`${what} is asked no more than that, and answers all`, async () => {
      const limited = new LimitedStreams(limits);
      // One connection: who finds no room waits for it.
      const { answers, count } = await meet(limited, "{ max: 1 }");
      allRight(answers);
      assert.deepEqual(limited.tooMany, []);
      assert.ok(count.bad > 0);
      assert.equal(limited.said, limits.length);
    });
  }
});

/** Says another limit with each request, and refuses what is beyond it, as servers do. */
class LimitedStreams implements RawBehaviour {
  readonly settings: readonly number[];
  /** Streams beyond what the client has acknowledged. */
  readonly tooMany: string[] = [];
  said = 1;
  readonly #limits: readonly number[];
  #acknowledged = 0;

  constructor(limits: readonly number[]) {
    this.#limits = limits;
    this.settings = [Setting.MAX_CONCURRENT_STREAMS, limits[0]!];
  }

  readonly onFrame = (peer: RawHttp2Peer, { type, flags, stream }: HeardFrame): void => {
    if (type === FrameType.SETTINGS && flags === 1) this.#acknowledged++;
    if (type !== FrameType.HEADERS) return;
    const allowed = this.#acknowledged === 0 ? 100 : this.#limits[this.#acknowledged - 1]!;
    if (peer.open.size > allowed) this.tooMany.push(`${peer.open.size} instead of ${allowed}`);
    if (peer.open.size > this.#limits[this.said - 1]!) {
      peer.say(peer.reset(stream, ErrorCode.REFUSED_STREAM));
    }
  };

  readonly onRequest = ({ peer, id }: HeardRequest): void => {
    this.#sayNext(peer);
    setImmediate(() => peer.answer(id, BODY));
  };

  #sayNext(peer: RawHttp2Peer): void {
    const next = this.#limits[this.said];
    if (next === undefined) return;
    this.said++;
    const setting = Buffer.alloc(6);
    setting.writeUInt16BE(Setting.MAX_CONCURRENT_STREAMS, 0);
    setting.writeUInt32BE(next, 2);
    peer.say(frame(FrameType.SETTINGS, 0, 0, setting));
    // Nobody can ask then: nothing else would let anybody in again.
    if (next === 0) setTimeout(() => this.#sayNext(peer), 50);
  }
}

function goaway(last: number, code: number): Buffer {
  return frame(FrameType.GOAWAY, 0, 0, Buffer.concat([word(last), word(code)]));
}
