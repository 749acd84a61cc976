import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Rng, seededRng } from "#kernel/rng.ts";
import type { AnswerHead, Exchange, Fields } from "#proxy/exchange/exchange.ts";
import { failure } from "#proxy/exchange/failure.ts";
import { IS_WHOLE, keptCases, replay, seeds } from "#test/fuzz/budget.ts";
import { type NearlyAnswer, nearlyAnswer, pieces } from "#test/fuzz/messages.ts";
import { type HeardAnswer, readAnswer } from "#test/fuzz/node_http.ts";
import { FakeSocket } from "#test/kit/fake_socket.ts";
import { newDownstream, newUpstream, turn } from "#test/kit/http1_ends.ts";

/** Tried by `make test`: some seconds. */
const CASES = 4_000;

/** One answer as it came from its endpoint. */
interface Passed {
  interims: string[];
  head: { status: number; reason: string; fields: Fields } | undefined;
  body: string;
  trailers: Fields;
  end: "whole" | "failed" | undefined;
}

/** A client, an endpoint, and the codec between them: passes one answer on as the relay does. */
class Passage {
  readonly client = new FakeSocket();
  readonly endpoint = new FakeSocket();
  readonly passed: Passed = {
    interims: [],
    head: undefined,
    body: "",
    trailers: [],
    end: undefined,
  };
  /** Times that the endpoint's connection was given back for another request. */
  kept = 0;

  constructor({ method, old }: NearlyAnswer) {
    newDownstream(this.client, (exchange) => this.#ask(exchange), []);
    const version = old ? "HTTP/1.0\r\nconnection: keep-alive" : "HTTP/1.1";
    this.client.say(Buffer.from(`${method} / ${version}\r\nhost: a\r\n\r\n`));
  }

  #ask(exchange: Exchange): void {
    const { passed } = this;
    exchange.observer = { onClientGone: () => {}, onAnswerDrain: () => {} };
    const sink = {
      onInterim: (status: number, fields: Fields) => {
        passed.interims.push(`${status} ${fields.join("|")}`);
        exchange.interim(status, fields);
      },
      onAnswer: (head: AnswerHead) => {
        passed.head = { ...head, fields: [...head.fields] };
        exchange.answer(head);
      },
      onAnswerBody: (chunk: Buffer) => {
        passed.body += chunk.latin1Slice();
        return exchange.answerBody(chunk);
      },
      onAnswerEnd: (trailers: Fields | undefined) => {
        passed.trailers = trailers ?? [];
        passed.end = "whole";
        exchange.answerEnd(trailers);
      },
      onRequestDrain: () => {},
      onFailure: () => {
        passed.end = "failed";
        if (passed.head !== undefined) exchange.abort(failure("answer_truncated", ""));
        else badGateway(exchange);
      },
    };
    newUpstream(this.endpoint, exchange.head, sink, () => this.kept++);
  }
}

function badGateway(exchange: Exchange): void {
  exchange.answer({ status: 502, reason: "", fields: [], body: 3, upgrade: undefined });
  exchange.answerBody(Buffer.from("bad"));
  exchange.answerEnd(undefined);
}

const OF_THE_CONNECTION = new Set(["content-length", "transfer-encoding", "connection"]);

function endToEnd(fields: readonly string[], method: string, status: number): string[] {
  // There it describes the body that is not sent, and passes through.
  const described = method === "HEAD" || status === 304;
  return fields.filter((_, i) => {
    const name = fields[i - (i % 2)]!;
    return !OF_THE_CONNECTION.has(name) || (described && name === "content-length");
  });
}

function withoutDate(fields: readonly string[]): string[] {
  return fields.filter((_, i) => fields[i - (i % 2)] !== "date");
}

/** Of a reason phrase that we write ourselves where the endpoint gave none. */
const ANY_REASON = "";

describe("answers that are nearly right", { timeout: 3_600_000 }, () => {
  let whole = 0;

  async function tryOne(said: NearlyAnswer, rng: Rng): Promise<void> {
    const bytes = Buffer.from(said.text, "latin1");
    const passage = new Passage(said);
    for (const piece of pieces(rng, bytes)) {
      passage.endpoint.say(piece);
      // What was passed on so far has left by the time that the rest comes.
      await turn();
    }
    if (said.ends) passage.endpoint.sayEnd();
    await turn();
    const { passed, client, endpoint } = passage;
    const kept = passage.kept > 0 && !endpoint.destroyed;
    const text = Buffer.from(client.written, "latin1");
    const heard = await readAnswer(said.method, text, client.ending);
    const says = `${JSON.stringify(passed)}, client got ${JSON.stringify(client.written)} and ${client.ending}: ${JSON.stringify(heard)}`;
    assert.equal(heard.stray, false, says);
    const cut = passed.end === "failed" && passed.head !== undefined;
    // One that is cut may have lost what had not left yet.
    const interims = said.old
      ? []
      : passed.interims.slice(0, cut ? heard.interims.length : undefined);
    assert.deepEqual(heard.interims, interims, says);
    if (passed.end === "whole") {
      whole++;
      isReadTheSame(said, passed, heard, says);
      await isReadFromTheEndpoint(said, passed, bytes, kept);
    } else if (passed.end === "failed" && passed.head === undefined) {
      assert.equal(heard.answer?.status, 502, says);
      assert.equal(heard.answer?.complete, true, says);
    } else {
      // Not over, or cut: no client may take it for whole.
      assert.ok(heard.answer?.complete !== true || heard.problem !== undefined, says);
    }
    client.destroy();
    endpoint.destroy();
  }

  function isReadTheSame(
    { method }: NearlyAnswer,
    { head, body, trailers }: Passed,
    { answer, problem }: HeardAnswer,
    says: string,
  ): void {
    assert.equal(problem, undefined, says);
    assert.ok(answer?.complete, says);
    assert.equal(answer.status, head!.status, says);
    if (head!.reason !== ANY_REASON) assert.equal(answer.reason, head!.reason, says);
    const { status } = answer;
    // An answer that says no time has ours.
    const fields = head!.fields.includes("date") ? answer.fields : withoutDate(answer.fields);
    assert.deepEqual(endToEnd(fields, method, status), head!.fields, says);
    assert.equal(answer.body, body, says);
    // A client of HTTP/1.0 has no place for them.
    if (answer.trailers.length > 0) assert.deepEqual(answer.trailers, trailers, says);
  }

  /** What the endpoint said, read by Node itself: whole as well, and the same. */
  async function isReadFromTheEndpoint(
    { method, ends }: NearlyAnswer,
    { head, body }: Passed,
    bytes: Buffer,
    kept: boolean,
  ): Promise<void> {
    const heard = await readAnswer(method, bytes, ends ? "end" : "");
    const says = `endpoint said ${JSON.stringify(bytes.latin1Slice())}: ${JSON.stringify(heard)}`;
    const { answer, problem } = heard;
    // Node takes `Connection: close` of an interim answer for the end of the connection.
    if (answer === undefined && problem === "HPE_CLOSED_CONNECTION") return;
    assert.equal(answer?.status, head!.status, says);
    assert.equal(answer.body, body, says);
    if (!kept) return;
    assert.equal(answer.complete, true, says);
    assert.equal(problem, undefined, says);
  }

  it("pass as node:http reads them, or not at all: cases kept", async () => {
    for (const { why, ...said } of keptCases<NearlyAnswer & { why: string }>("answers.json")) {
      await tryOne(said, seededRng(1)).catch((error: Error) => {
        throw new Error(`${why}: ${error.message}`, { cause: error });
      });
    }
  });

  it("pass as node:http reads them, or not at all", async (t) => {
    let count = 0;
    for (const seed of seeds(CASES)) {
      const rng = seededRng(seed);
      const said = nearlyAnswer(rng);
      count++;
      await tryOne(said, rng).catch((error: Error) => {
        throw new Error(
          `${error.message}\n${replay("answers.test.ts", seed, JSON.stringify(said))}`,
          { cause: error },
        );
      });
    }
    t.diagnostic(`${count} cases, ${whole} passed whole`);
    if (IS_WHOLE) assert.ok(whole > count / 5, `only ${whole} of ${count}: too wild`);
  });
});
