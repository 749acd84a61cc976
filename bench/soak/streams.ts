import { Agent, request } from "node:http";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { BODY_MAX, bodyOf, Expected } from "#bench/soak/bodies.ts";
import type { Ledger } from "#bench/soak/ledger.ts";
import { pathOf } from "#bench/soak/origins.ts";
import type { Rng } from "#kernel/rng.ts";

const MENU = "menu.shop.svc.acme.mesh";
const CALLS = "calls.shop.svc.acme.mesh";
/** Sessions of HTTP/2 to each entrance, used in turns. */
const SESSIONS = 6;

/** What a client can do. */
export const KINDS = [
  "http1_get",
  "http1_post",
  "http2_get",
  "http2_post",
  "http2_slow_read",
  "call",
  "http1_give_up",
  "http2_give_up",
] as const;

/** One of them. */
export type Kind = (typeof KINDS)[number];

type Settled = (how: "end" | "cut", detail: string) => void;

/** The clients of a soak: they begin streams at an entrance, and write down how each ends. */
export class Streams {
  readonly #ledger: Ledger;
  readonly #rng: Rng;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 32 });
  readonly #sessions = new Map<string, ClientHttp2Session>();

  constructor(ledger: Ledger, rng: Rng) {
    this.#ledger = ledger;
    this.#rng = rng;
  }

  begin(kind: Kind, port: number): void {
    const { below } = this.#rng;
    // As many small ones as large ones, by their orders of magnitude.
    const bytes = Math.floor(2 ** (this.#rng.next() * 18));
    const host = below(2) === 0 ? MENU : CALLS;
    if (kind === "http1_get") this.#http1(kind, port, "GET", host, bytes, false);
    else if (kind === "http1_post") this.#http1(kind, port, "POST", host, bytes, false);
    else if (kind === "http1_give_up") this.#http1(kind, port, "POST", host, BODY_MAX, true);
    else if (kind === "http2_get") this.#http2(kind, port, host, bytes, {});
    else if (kind === "http2_post") this.#http2(kind, port, host, bytes, { posts: true });
    else if (kind === "http2_slow_read") this.#http2(kind, port, host, BODY_MAX, { slow: true });
    else if (kind === "http2_give_up") this.#http2(kind, port, host, BODY_MAX, { gives: true });
    else this.#call(kind, port);
  }

  close(): void {
    this.#agent.destroy();
    for (const session of this.#sessions.values()) session.destroy();
    this.#sessions.clear();
  }

  // ── HTTP/1.1 ──

  #http1(
    kind: Kind,
    port: number,
    method: string,
    host: string,
    bytes: number,
    gives: boolean,
  ): void {
    const stream = this.#ledger.begin(kind);
    const body = bodyOf(stream, bytes);
    const expected = new Expected(body);
    const place = { host: "127.0.0.1", port, agent: this.#agent };
    const sent = request({ ...place, method, path: pathOf(stream, bytes), headers: { host } });
    let status = 0;
    sent.on("response", (answer) => {
      status = answer.statusCode!;
      answer.on("data", (chunk: Buffer) => expected.take(chunk));
      answer.on("end", () => {
        if (answer.complete) this.#judge(stream, status, expected, "");
        else this.#cut(stream, status, expected, "incomplete");
      });
      answer.on("error", (error: NodeJS.ErrnoException) =>
        this.#cut(stream, status, expected, error.code ?? error.message),
      );
    });
    sent.on("error", (error: NodeJS.ErrnoException) =>
      this.#cut(stream, status, expected, error.code ?? error.message),
    );
    sent.on("close", () => this.#cut(stream, status, expected, "closed"));
    sent.end(method === "GET" ? undefined : body);
    if (gives) this.#giveUp(stream, () => sent.destroy());
  }

  // ── HTTP/2 ──

  #http2(
    kind: Kind,
    port: number,
    host: string,
    bytes: number,
    how: { readonly posts?: boolean; readonly slow?: boolean; readonly gives?: boolean },
  ): void {
    const stream = this.#ledger.begin(kind);
    const body = bodyOf(stream, bytes);
    const expected = new Expected(body);
    const path = pathOf(stream, bytes);
    const head = { ":method": how.posts ? "POST" : "GET", ":path": path, ":authority": host };
    const asked = this.#ask(port, head, !how.posts);
    if (asked === undefined) {
      this.#ledger.end(stream, "cut", "no connection");
      return;
    }
    const status = this.#hear(asked, expected, (way, detail) => {
      if (way === "end") this.#judge(stream, status(), expected, "");
      else this.#cut(stream, status(), expected, detail);
    });
    if (how.slow) {
      asked.on("data", () => {
        asked.pause();
        setTimeout(() => asked.resume(), 3 + this.#rng.below(10));
      });
    }
    if (how.posts) asked.end(body);
    if (how.gives) this.#giveUp(stream, () => asked.close(constants.NGHTTP2_CANCEL));
  }

  /** A call that streams both ways: the next message leaves when the one before has come back, or a bit later. */
  #call(kind: Kind, port: number): void {
    const stream = this.#ledger.begin(kind);
    const messages = 3 + this.#rng.below(18);
    const each = 100 + this.#rng.below(5_000);
    const body = bodyOf(stream, messages * each);
    const expected = new Expected(body);
    const head = {
      ...{ ":method": "POST", ":path": "/soak.Soak/Echo", ":authority": CALLS, te: "trailers" },
      "content-type": "application/grpc",
    };
    const asked = this.#ask(port, head, false);
    if (asked === undefined) {
      this.#ledger.end(stream, "cut", "no connection");
      return;
    }
    let grpcStatus: string | undefined;
    const note = (fields: IncomingHttpHeaders): void => {
      grpcStatus ??= fields["grpc-status"] as string | undefined;
    };
    asked.on("response", note);
    asked.on("trailers", note);
    const status = this.#hear(asked, expected, (way, detail) => {
      if (way === "cut") this.#cut(stream, status(), expected, detail);
      else if (status() >= 400) this.#judge(stream, status(), expected, "");
      else if (grpcStatus === undefined) {
        const what = `status ${status()}, ${expected.bytes} of ${body.length} bytes`;
        this.#ledger.end(stream, "wrong", `no grpc-status, ${what}`);
      } else if (grpcStatus === "0") this.#judge(stream, status(), expected, "grpc");
      else this.#ledger.end(stream, expected.wrong ? "wrong" : "error", `grpc ${grpcStatus}`);
    });
    let sent = 0;
    const next = (): void => {
      if (asked.destroyed || asked.writableEnded) return;
      if (sent === messages) {
        asked.end();
        return;
      }
      if (expected.bytes >= sent * each) {
        asked.write(body.subarray(sent * each, ++sent * each));
      }
      setTimeout(next, 2 + this.#rng.below(20));
    };
    next();
  }

  #ask(port: number, head: OutgoingHttpHeaders, ends: boolean): ClientHttp2Stream | undefined {
    const key = `${port} ${this.#rng.below(SESSIONS)}`;
    let session = this.#sessions.get(key);
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 1_000 });
      session.on("error", () => {});
      this.#sessions.set(key, session);
    }
    try {
      return session.request(head, { endStream: ends });
    } catch {
      return undefined;
    }
  }

  #hear(asked: ClientHttp2Stream, expected: Expected, settled: Settled): () => number {
    let status = 0;
    let ended = false;
    let problem = "";
    asked.on("response", (head) => {
      status = head[":status"] ?? 0;
    });
    asked.on("data", (chunk: Buffer) => {
      if (status < 400) expected.take(chunk);
    });
    asked.on("end", () => {
      ended = true;
    });
    asked.on("error", (error: NodeJS.ErrnoException) => {
      problem = error.code ?? error.message;
    });
    asked.on("close", () => {
      const code = asked.rstCode;
      if (ended && code === 0) settled("end", "");
      else settled("cut", `${problem} ${code}`);
    });
    return () => status;
  }

  // ── how it has ended ──

  #giveUp(stream: number, act: () => void): void {
    setTimeout(() => {
      this.#ledger.end(stream, "gave_up");
      act();
    }, 1 + this.#rng.below(60));
  }

  /** A whole answer. */
  #judge(stream: number, status: number, expected: Expected, detail: string): void {
    if (status >= 400) this.#ledger.end(stream, "error", `status ${status}`);
    else if (status === 200 && expected.complete) this.#ledger.end(stream, "right");
    else {
      const what = `${detail} status ${status}, ${expected.bytes} bytes`;
      this.#ledger.end(stream, "wrong", `${what}${expected.wrong ? ", not its own" : ""}`);
    }
  }

  #cut(stream: number, status: number, expected: Expected, detail: string): void {
    const isWrong = status === 200 && expected.wrong;
    this.#ledger.end(stream, isWrong ? "wrong" : "cut", detail);
  }
}
