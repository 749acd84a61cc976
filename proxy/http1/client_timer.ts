import type { Socket } from "node:net";
import { type TimerWheel, WheelItem } from "#kernel/timer_wheel.ts";
import { type Failure, failure } from "#proxy/exchange/failure.ts";
import { type ConnectionLimits, FIRST_REQUEST_MS } from "#proxy/exchange/limits.ts";

/** A closed connection is still read, so that the client sees our last answer: as long as it sends, */
const LINGER_MS = 2_000;
/** and this many times `LINGER_MS` at most. */
const LINGERS_MAX = 15;

/**
 * What a connection waits for. `request`: the first byte of one. `head`: the rest of it. `body`: a piece of a
 * body that we are ready to read. `taker`: somebody who takes what has been read of a body. `reader`: the
 * client, who reads an answer or will. `end`: it is over.
 */
export type Awaited = "request" | "head" | "body" | "taker" | "reader" | "end";

/** Whose time is measured. */
export interface TimedClient {
  readonly awaits: Awaited;
  /** No request has come for a while. */
  onUnused(): void;
  /** A head or a body has not come in time. */
  onLate(reason: Failure): void;
  /** It takes nothing of what is there for it. */
  onStuck(reason: Failure): void;
}

/** The time limits of one client's connection. It looks now and then: nothing is armed per request. */
export class ClientTimer extends WheelItem {
  /** Bytes arrived since it last looked. */
  progress = false;
  readonly #client: TimedClient;
  readonly #socket: Socket;
  readonly #wheel: TimerWheel;
  readonly #limits: ConnectionLimits;
  /** Times that it found a closed connection still sending. */
  #lingers = 0;
  /** Bytes that the client had taken when it last looked. */
  #taken = 0;

  constructor(client: TimedClient, socket: Socket, wheel: TimerWheel, limits: ConnectionLimits) {
    super();
    this.#client = client;
    this.#socket = socket;
    this.#wheel = wheel;
    this.#limits = limits;
    wheel.arm(this, limits.headTimeoutMs);
  }

  /** A head has begun. Once for each: who sends a byte now and then must not keep us waiting for ever. */
  expectHead(): void {
    this.#wheel.arm(this, this.#limits.headTimeoutMs);
  }

  /** The port drains: who has not asked anything yet has to ask it soon. */
  hurry(): void {
    this.#wheel.arm(this, Math.min(FIRST_REQUEST_MS, this.#limits.headTimeoutMs));
  }

  /** The connection has been closed by us and is read on for a moment. */
  linger(): void {
    this.#wheel.disarm(this);
    this.#wheel.arm(this, LINGER_MS);
  }

  stop(): void {
    this.#wheel.disarm(this);
  }

  override onTimeout(): void {
    const client = this.#client;
    const { headTimeoutMs, bodyTimeoutMs, idleTimeoutMs } = this.#limits;
    const progress = this.progress;
    this.progress = false;
    switch (client.awaits) {
      case "end":
        if (progress && ++this.#lingers < LINGERS_MAX) this.#wheel.arm(this, LINGER_MS);
        else this.#socket.destroy();
        return;
      case "reader":
        this.#watchReader();
        return;
      case "taker":
        this.#wheel.arm(this, bodyTimeoutMs);
        return;
      case "body":
        if (progress) this.#wheel.arm(this, bodyTimeoutMs);
        else client.onLate(failure("body_timeout", `${bodyTimeoutMs} ms without a byte`));
        return;
      case "head":
        client.onLate(failure("head_timeout", `no head after ${headTimeoutMs} ms`));
        return;
      case "request":
        if (progress) this.#wheel.arm(this, idleTimeoutMs);
        else client.onUnused();
    }
  }

  /** A client that takes nothing of what is there for it, for a whole period, is given up. */
  #watchReader(): void {
    const { bytesWritten, writableLength } = this.#socket;
    const { idleTimeoutMs } = this.#limits;
    const taken = bytesWritten - writableLength;
    if (writableLength > 0 && taken === this.#taken) {
      this.#client.onStuck(failure("client_closed", `took nothing for ${idleTimeoutMs} ms`));
      return;
    }
    this.#taken = taken;
    this.#wheel.arm(this, idleTimeoutMs);
  }
}
