import type {
  AnswerHead,
  Exchange,
  ExchangeObserver,
  RequestHead,
} from "#proxy/exchange/exchange.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";

/** A request without a body, as a simulated connection carries it. */
export class SimExchange implements Exchange {
  readonly head: RequestHead;
  readonly peer: Peer;
  readonly listener: string;
  log = undefined;
  readonly secure = false;
  readonly servedHosts = undefined;
  readonly raw = false;
  readonly httpVersion = "1.1";
  readonly serverName = undefined;
  readonly policy = { streamIdleMs: 300_000, forwarded: false, accessLogShare: undefined };
  observer: ExchangeObserver | undefined = undefined;
  readonly #onAnswer: (head: AnswerHead) => void;
  readonly #onAbort: (reason: Failure) => void;
  #answer: AnswerHead | undefined = undefined;
  #over = false;

  constructor(
    head: RequestHead,
    from: { readonly peer: Peer; readonly listener: string },
    on: { answer: (head: AnswerHead) => void; abort: (reason: Failure) => void },
  ) {
    this.head = head;
    this.peer = from.peer;
    this.listener = from.listener;
    this.#onAnswer = on.answer;
    this.#onAbort = on.abort;
  }

  readBody(): void {}
  resumeBody(): void {}
  interim(): void {}

  answer(head: AnswerHead): void {
    this.#answer = head;
  }

  answerBody(): boolean {
    return true;
  }

  answerEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.observer = undefined;
    this.#onAnswer(this.#answer!);
  }

  abort(reason: Failure): void {
    if (this.#over) return;
    this.#over = true;
    this.observer = undefined;
    this.#onAbort(reason);
  }

  /** The other end of the connection is gone. */
  clientGone(): void {
    if (this.#over) return;
    this.#over = true;
    const observer = this.observer;
    this.observer = undefined;
    observer?.onClientGone(failure("client_closed", "simulated"));
  }
}
