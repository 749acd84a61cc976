import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { ConnectionLimits } from "#proxy/exchange/limits.ts";
import { HeadMemo } from "#proxy/http1/head_memo.ts";
import { hasStrayBytes } from "#proxy/http1/parser_fields.ts";
import {
  isFailure,
  judgeBegun,
  type ParsedRequest,
  parseRequest,
  requestOf,
} from "#proxy/http1/parser_head.ts";
import { headText, latin1 } from "#proxy/socket/latin1.ts";

/**
 * Why there is no request yet. `blank`: nothing but an empty line has come. `begun`: the first bytes of a
 * head are there. `more`: others of it had been there before.
 */
export type Unfinished = "blank" | "begun" | "more";

/** Finds the heads of requests in what one client has sent, and has them read. */
export class HeadReader {
  /** After a request was returned: where its head ended. */
  next = 0;
  readonly #limits: ConnectionLimits;
  readonly #memo = new HeadMemo();
  /** Bytes of a head that has begun and is not complete; they have been judged. */
  #seen = 0;
  /** The empty line that is forgiven before a request has come. */
  #blankSeen = false;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** A head has begun and is not complete. */
  get isInside(): boolean {
    return this.#seen > 0;
  }

  /** The request at the beginning of `buffer`; or why it is none, or not yet one. */
  read(buffer: Buffer): ParsedRequest | Failure | Unfinished {
    const from = this.#blankSeen ? 0 : afterBlankLine(buffer);
    if (from === buffer.length) {
      this.#blankSeen = true;
      this.#seen = 0;
      return "blank";
    }
    const { headBytesMax } = this.#limits;
    const known = this.#memo.endOf(buffer, from);
    if (known >= 0 && known - from <= headBytesMax + 4) {
      this.#found(known);
      return this.#readKnown(buffer, from);
    }
    const text = headText(buffer, from, headBytesMax + 4);
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) return this.#judgeBegun(text);
    const next = from + end + 4;
    this.#found(next);
    const request = parseRequest(text.slice(0, end), this.#limits, this.#memo.begin());
    if (!isFailure(request)) this.#memo.keep(buffer, from + text.indexOf("\r"), next);
    return request;
  }

  #found(next: number): void {
    this.next = next;
    this.#seen = 0;
    this.#blankSeen = false;
  }

  /** Its fields are those of the request before. */
  #readKnown(buffer: Buffer, from: number): ParsedRequest | Failure {
    const { lineEnd, parsed } = this.#memo;
    const line = latin1(buffer, from, lineEnd);
    if (hasStrayBytes(line)) return failure("bad_request", "control character");
    const request = requestOf(line, line.length, parsed, this.#limits);
    if (!isFailure(request) && request.head.fields === parsed.fields) {
      request.head.fields = parsed.fields.slice();
    }
    return request;
  }

  /** A head that is not whole: what can become none is refused at once. */
  #judgeBegun(text: string): Failure | Unfinished {
    const problem = judgeBegun(text, this.#seen, this.#limits);
    if (problem !== undefined) return problem;
    const begun = this.#seen === 0;
    // Half of an empty line will not be in `text` the next time.
    this.#seen = text === "\r" ? 0 : text.length;
    return begun ? "begun" : "more";
  }
}

/** RFC 9112 §2.2: one empty line before a request is forgiven. */
function afterBlankLine(buffer: Buffer): number {
  return buffer[0] === 13 && buffer[1] === 10 ? 2 : 0;
}
