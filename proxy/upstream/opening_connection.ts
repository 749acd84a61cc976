import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Millis } from "#kernel/brand.ts";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import type { AlpnProtocol } from "#model/app_protocol.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { type ReadInto, SHARED_READ } from "#proxy/socket/held_buffers.ts";
import type { Dialling } from "#proxy/upstream/dial.ts";
import { errorDetail, openingFailure } from "#proxy/upstream/opening_failure.ts";
import { isConnectFailure, type UpstreamCounters } from "#proxy/upstream/upstream_counters.ts";

export interface OpeningOptions {
  readonly wheel: TimerWheel;
  readonly counters: UpstreamCounters;
  readonly connectTimeoutMs: Millis;
  /** @param dialling of the open connection, for who speaks `protocol`; has to be used at once. */
  readonly onAgreed: (protocol: AlpnProtocol, dialling: Dialling) => void;
  readonly onFailed: (reason: Failure) => void;
}

/** What is spoken on an open connection. A server that knows nothing of ALPN speaks what HTTPS has always been. */
export function agreedOn(socket: Socket): AlpnProtocol {
  return socket instanceof TLSSocket && socket.alpnProtocol === "h2" ? "h2" : "http/1.1";
}

/** A connection over TLS while nobody knows yet which protocol it will speak. */
export class OpeningConnection extends WheelItem {
  readonly #options: OpeningOptions;
  readonly #socket: Socket;
  /** Who speaks on it; undefined: it is not open yet. */
  #reader: ReadInto | undefined = undefined;
  #over = false;
  readonly #onError = (error: Error): void => this.#fail(openingFailure(errorDetail(error), true));
  readonly #onClose = (): void => this.#fail(failure("connect_refused", "closed"));

  constructor({ dial }: Dialling, options: OpeningOptions) {
    super();
    this.#options = options;
    const socket = dial({
      buffer: () => this.#reader?.buffer() ?? SHARED_READ,
      callback: (bytes, buffer) => this.#pass(bytes, buffer),
    });
    this.#socket = socket;
    socket.once("secureConnect", () => this.#agree());
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    options.wheel.arm(this, options.connectTimeoutMs);
  }

  /** Nobody wants it any more. */
  cancel(): void {
    this.#end();
    this.#socket.destroy();
  }

  override onTimeout(): void {
    const { connectTimeoutMs } = this.#options;
    this.#fail(failure("connect_timeout", `${connectTimeoutMs} ms`));
  }

  #agree(): void {
    if (this.#over) return;
    const socket = this.#socket;
    this.#end();
    socket.off("error", this.#onError);
    socket.off("close", this.#onClose);
    const dial = (reader: ReadInto): Socket => {
      this.#reader = reader;
      return socket;
    };
    this.#options.onAgreed(agreedOn(socket), { dial, readyEvent: "secureConnect" });
    // Said again, for who has begun to listen just now.
    socket.emit("secureConnect");
  }

  /** The socket had its first buffer before it had a reader, who looks only into its own. */
  #pass(bytes: number, buffer: Uint8Array): boolean {
    const reader = this.#reader;
    if (reader === undefined) return false;
    const own = reader.buffer();
    if (own.buffer !== buffer.buffer) own.set(buffer.subarray(0, bytes));
    return reader.callback(bytes, own);
  }

  #fail(reason: Failure): void {
    if (this.#over) return;
    this.cancel();
    const { counters, onFailed } = this.#options;
    if (isConnectFailure(reason.kind)) counters.connectFailures[reason.kind]++;
    onFailed(reason);
  }

  #end(): void {
    this.#over = true;
    this.#options.wheel.disarm(this);
  }
}
