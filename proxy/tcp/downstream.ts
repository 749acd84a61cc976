import type { Socket } from "node:net";
import {
  type AnswerHead,
  type BodySink,
  type ClientPolicy,
  type Exchange,
  type ExchangeObserver,
  type RequestHead,
  TCP_UPGRADE,
} from "#proxy/exchange/exchange.ts";
import { DRAINED, failure } from "#proxy/exchange/failure.ts";
import type { Peer } from "#proxy/exchange/peer.ts";
import { WriteQueue } from "#proxy/http1/write_queue.ts";
import type { AccessEntry } from "#proxy/observe/access_entry.ts";
import { reset } from "#proxy/socket/reset.ts";
import { type TunnelOwner, TunnelReads } from "#proxy/socket/tunnel_reads.ts";

export interface TcpOptions {
  readonly listener: string;
  readonly peer: Peer;
  /** Name that the client's ClientHello asks for; undefined: none, or no TLS. */
  readonly serverName: string | undefined;
  readonly policy: ClientPolicy;
  /** Bytes that were read to find out where it goes. */
  readonly first: Buffer;
  readonly onClosed: (connection: TcpConnection) => void;
}

/**
 * A client's connection that goes whole to one endpoint. To everything above it is an exchange that asks
 * to switch at once: an answer of 101 opens the tunnel, any other ends it without a word.
 */
export class TcpConnection implements Exchange, TunnelOwner {
  readonly head: RequestHead;
  readonly peer: Peer;
  readonly listener: string;
  readonly secure = false;
  readonly raw = true;
  readonly httpVersion = "1.1";
  readonly servedHosts = undefined;
  readonly serverName: string | undefined;
  readonly policy: ClientPolicy;
  observer: ExchangeObserver | undefined = undefined;
  log: AccessEntry | undefined = undefined;
  readonly #socket: Socket;
  readonly #out: WriteQueue;
  readonly #onClosed: TcpOptions["onClosed"];
  readonly #reads: TunnelReads;
  #answerEnded = false;

  constructor(socket: Socket, options: TcpOptions) {
    const { listener, peer, serverName, policy, first, onClosed } = options;
    this.#socket = socket;
    this.#out = new WriteQueue(socket);
    this.#reads = new TunnelReads(this, socket, { unread: first, ended: false, held: false });
    this.#onClosed = onClosed;
    this.listener = listener;
    this.peer = peer;
    this.serverName = serverName;
    this.policy = policy;
    this.head = {
      method: "GET",
      target: "/",
      authority: "",
      fields: [],
      body: 0,
      upgrade: TCP_UPGRADE,
      takesTrailers: false,
    };
    // Nothing is read before there is somebody to read it; how the client ends is heard all the same.
    socket.pause();
    socket.on("data", (chunk: Buffer) => this.#reads.take(chunk));
    socket.on("end", () => this.#reads.end());
    socket.on("drain", () => {
      this.#out.drained();
      this.observer?.onAnswerDrain();
    });
    socket.on("error", () => {});
    socket.on("close", () => this.#onClose());
  }

  info() {
    const client = this.peer.address;
    const { bytesRead: bytesIn, bytesWritten: bytesOut } = this.#socket;
    return { listener: this.listener, client, state: "tunnel", requests: 1, bytesIn, bytesOut };
  }

  /** A tunnel has no request between which it could end. */
  drain(): void {}

  destroy(): void {
    const { observer } = this;
    this.observer = undefined;
    observer?.onClientGone(DRAINED);
    this.#socket.destroy();
  }

  readBody(sink: BodySink): void {
    this.#reads.takeBy(sink);
  }

  resumeBody(): void {
    this.#reads.resume();
  }

  interim(): void {}

  answer(head: AnswerHead): void {
    if (head.status === 101) return;
    this.#answerEnded = true;
    this.observer = undefined;
    reset(this.#socket);
  }

  answerBody(chunk: Buffer): boolean {
    return this.#answerEnded ? true : this.#out.body(chunk, false);
  }

  answerEnd(): void {
    if (this.#answerEnded) return;
    this.#answerEnded = true;
    this.#out.flush();
    this.#socket.end();
    if (!this.#reads.isTaken) this.observer = undefined;
  }

  abort(): void {
    this.#answerEnded = true;
    this.observer = undefined;
    reset(this.#socket);
  }

  /** The client says no more; the other direction may go on. */
  onTunnelEnd(sink: BodySink): void {
    if (this.#answerEnded) this.observer = undefined;
    sink.onBodyEnd(undefined);
  }

  #onClose(): void {
    const observer = this.observer;
    this.observer = undefined;
    this.#answerEnded = true;
    this.#onClosed(this);
    observer?.onClientGone(failure("client_closed", "before the end"));
  }
}
