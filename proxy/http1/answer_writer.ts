import type { Socket } from "node:net";
import type { AnswerHead, Fields } from "#proxy/exchange/exchange.ts";
import type { Failure } from "#proxy/exchange/failure.ts";
import type { HttpDate } from "#proxy/exchange/http_date.ts";
import { refusalText } from "#proxy/http1/refusal.ts";
import { type AnswerFraming, answerText, framingOf, interimText } from "#proxy/http1/serializer.ts";
import { WriteQueue } from "#proxy/http1/write_queue.ts";
import { reset } from "#proxy/socket/reset.ts";

/** What one client is answered, one answer after the other: framed as it understands it. */
export class AnswerWriter {
  /** The client speaks HTTP/1.0: it knows neither chunks nor interim answers. */
  old = false;
  /** The final head of the running answer has been given. */
  begun = false;
  readonly #socket: Socket;
  readonly #date: HttpDate;
  readonly #out: WriteQueue;
  #framing: AnswerFraming = "none";

  constructor(socket: Socket, date: HttpDate) {
    this.#socket = socket;
    this.#date = date;
    this.#out = new WriteQueue(socket);
  }

  /** The client reads slowly: nothing more should be made for it. */
  get congested(): boolean {
    return this.#out.congested;
  }

  /** The running answer makes a tunnel of the connection. */
  get opensTunnel(): boolean {
    return this.#framing === "tunnel";
  }

  /** A request has come: what follows answers it. */
  expect(old: boolean): void {
    this.old = old;
    this.begun = false;
  }

  interim(status: number, fields: Fields): void {
    if (!this.old && !this.begun) this.#out.text(interimText(status, fields));
  }

  /**
   * @param method of the request. @param mayStay the connection could carry another request.
   * Returns whether it will.
   */
  head(head: AnswerHead, method: string, mayStay: boolean): boolean {
    this.begun = true;
    const framing = framingOf(head, method, this.old);
    this.#framing = framing;
    const stays = mayStay && framing !== "close" && framing !== "tunnel";
    this.#date.stamp(head.fields);
    const persistence = stays ? (this.old ? "keep-alive" : "") : "close";
    this.#out.text(answerText(head, framing, persistence));
    return stays;
  }

  /** False: the client reads slowly. */
  body(chunk: Buffer): boolean {
    if (this.#framing === "none" || chunk.length === 0) return true;
    return this.#out.body(chunk, this.#framing === "chunked");
  }

  end(trailers: Fields | undefined): void {
    this.#out.end(this.#framing === "chunked", trailers);
  }

  /** The client has read all that was pending. */
  drained(): void {
    this.#out.drained();
  }

  /** Answers in the place of somebody who never heard of the request. @param self the proxy's name. */
  refuse(reason: Failure, self: string): void {
    this.#out.text(refusalText(reason, self, this.#date));
  }

  /** Writes what is left, and that there will be no more. */
  close(): void {
    this.#out.flush();
    this.#socket.end();
  }

  /** Where the end of the connection is the end of the message, only a reset says that it was cut. */
  cut(): void {
    // What came before the cut in the same turn is the client's still.
    this.#out.flush();
    if (this.#framing === "close" || this.#framing === "tunnel") reset(this.#socket);
    else this.#socket.destroy();
  }
}
