import type { Socket } from "node:net";
import { type Fields, FieldWriter } from "#bench/load/h2_fields.ts";

/*
 * HTTP/2 for the bench's own load and origin: as little as they need, and none of it the engine that is measured, so
 * that a fault of that one is not met by the same fault here. Header blocks are written, never read.
 */

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const HEAD = 9;
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, window: 8 } as const;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
const PADDED = 8;
const SETTING = { tableSize: 1, push: 2, streams: 3, window: 4 } as const;
const WINDOW = 65_535;
/** What we let others send without asking again. */
const WIDE = 2 ** 30 - 1;
const PIECE = 16_384;
/** More than that in a socket's queue: its peer reads slowly. */
const QUEUED = 1_000_000;

/** Who is told what has come. */
export interface WireEvents {
  onHead(stream: number, ends: boolean): void;
  onData(stream: number, bytes: Buffer, ends: boolean): void;
  /** The stream is over, or all of them. @param stream 0: all. */
  onLost(stream: number, why: string): void;
}

/** What has still to be said on a stream: a number of units, each in DATA frames of its own. */
export interface Body {
  readonly stream: number;
  readonly unit: Buffer;
  owed: number;
  /** No more units come. */
  complete: boolean;
  /** Said behind the last unit; undefined: the last frame of DATA is the end. */
  readonly trailers: Fields | undefined;
}

interface Sending extends Body {
  at: number;
  window: number;
}

/** One end of a connection. */
export class Wire {
  readonly #socket: Socket;
  readonly #events: WireEvents;
  readonly #fields = new FieldWriter();
  readonly #sending = new Map<number, Sending>();
  readonly #stuck = new Set<Sending>();
  #unread: Buffer | undefined = undefined;
  #window = WINDOW;
  #firstWindow = WINDOW;
  #heard = 0;
  #out: Buffer[] = [];
  #prefaceLeft: number;

  constructor(socket: Socket, side: "client" | "server", events: WireEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#prefaceLeft = side === "server" ? PREFACE.length : 0;
    if (side === "client") this.#out.push(PREFACE);
    const own = side === "client" ? [SETTING.push, 0] : [SETTING.streams, 1_000];
    this.#frame(TYPE.settings, 0, 0, settings([...own, SETTING.window, WIDE]));
    this.#frame(TYPE.window, 0, 0, word(WIDE - WINDOW));
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#onChunk(chunk));
    socket.on("drain", () => this.#resume());
    socket.on("error", (error) => events.onLost(0, error.message));
    socket.on("close", () => events.onLost(0, "closed"));
    this.flush();
  }

  head(stream: number, fields: Fields, ends: boolean): void {
    const flags = END_HEADERS | (ends ? END_STREAM : 0);
    this.#frame(TYPE.headers, flags, stream, this.#fields.block(fields));
  }

  /** Says a body now and as the windows open. Whoever changes it calls `more`. */
  body(body: Body): void {
    const { stream, unit, owed, complete, trailers } = body;
    const sending = {
      ...{ stream, unit, owed, complete, trailers },
      ...{ at: 0, window: this.#firstWindow },
    };
    this.#sending.set(stream, sending);
    this.#pump(sending);
  }

  /** Owes so many units more. */
  more(stream: number, units: number, complete: boolean): void {
    const sending = this.#sending.get(stream);
    if (sending === undefined) return;
    sending.owed += units;
    sending.complete = complete;
    this.#pump(sending);
  }

  /** Writes what was said since the last time; what comes in the same turn is said at its end. */
  flush(): void {
    if (this.#out.length === 0) return;
    const out = this.#out;
    this.#out = [];
    this.#socket.write(out.length === 1 ? out[0]! : Buffer.concat(out));
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const frame = Buffer.allocUnsafe(HEAD + payload.length);
    writeHead(frame, payload.length, type, flags, stream);
    payload.copy(frame, HEAD);
    this.#out.push(frame);
  }

  #pump(sending: Sending): void {
    const { unit, stream, trailers } = sending;
    while (sending.owed > 0) {
      const room = Math.min(sending.window, this.#window, PIECE, unit.length - sending.at);
      if (room <= 0 || this.#socket.writableLength > QUEUED) {
        this.#stuck.add(sending);
        return;
      }
      const from = sending.at;
      sending.at += room;
      sending.window -= room;
      this.#window -= room;
      if (sending.at === unit.length) {
        sending.at = 0;
        sending.owed--;
      }
      const last = sending.owed === 0 && sending.complete && trailers === undefined;
      this.#frame(TYPE.data, last ? END_STREAM : 0, stream, unit.subarray(from, from + room));
      if (room === PIECE) this.flush();
    }
    if (!sending.complete) return;
    this.#sending.delete(stream);
    if (trailers !== undefined) this.head(stream, trailers, true);
  }

  #resume(): void {
    const stuck = [...this.#stuck];
    this.#stuck.clear();
    for (const one of stuck) this.#pump(one);
    this.flush();
  }

  #onChunk(chunk: Buffer): void {
    let bytes = this.#unread === undefined ? chunk : Buffer.concat([this.#unread, chunk]);
    if (this.#prefaceLeft > 0) {
      if (bytes.length < this.#prefaceLeft) {
        this.#unread = bytes;
        return;
      }
      bytes = bytes.subarray(this.#prefaceLeft);
      this.#prefaceLeft = 0;
    }
    let at = 0;
    while (at + HEAD <= bytes.length) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (at + HEAD + length > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      const payload = bytes.subarray(at + HEAD, at + HEAD + length);
      this.#onFrame(bytes[at + 3]!, bytes[at + 4]!, stream, payload);
      at += HEAD + length;
    }
    this.#unread = at === bytes.length ? undefined : bytes.subarray(at);
    this.flush();
  }

  #onFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === TYPE.data) this.#onData(flags, stream, payload);
    else if (type === TYPE.headers) this.#events.onHead(stream, (flags & END_STREAM) !== 0);
    else if (type === TYPE.window) this.#onWindow(stream, payload.readUInt32BE(0));
    else if (type === TYPE.settings && (flags & ACK) === 0) this.#onSettings(payload);
    else if (type === TYPE.ping && (flags & ACK) === 0) this.#frame(TYPE.ping, ACK, 0, payload);
    else if (type === TYPE.goaway) this.#events.onLost(0, `GOAWAY ${payload.readUInt32BE(4)}`);
    else if (type === TYPE.reset) {
      this.#forget(stream);
      this.#events.onLost(stream, `RST_STREAM ${payload.readUInt32BE(0)}`);
    }
  }

  #onData(flags: number, stream: number, payload: Buffer): void {
    const [from, to] =
      (flags & PADDED) === 0 ? [0, payload.length] : [1, payload.length - payload[0]!];
    this.#heard += payload.length;
    if (this.#heard > WIDE / 2) {
      this.#frame(TYPE.window, 0, 0, word(this.#heard));
      this.#heard = 0;
    }
    this.#events.onData(stream, payload.subarray(from, to), (flags & END_STREAM) !== 0);
  }

  #onWindow(stream: number, bytes: number): void {
    if (stream === 0) {
      this.#window += bytes;
      this.#resume();
      return;
    }
    const sending = this.#sending.get(stream);
    if (sending === undefined) return;
    sending.window += bytes;
    if (this.#stuck.delete(sending)) this.#pump(sending);
  }

  #onSettings(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      const [name, value] = [payload.readUInt16BE(at), payload.readUInt32BE(at + 2)];
      if (name === SETTING.tableSize && value < 4_096) this.#fields.indexes = false;
      if (name !== SETTING.window) continue;
      for (const sending of this.#sending.values()) sending.window += value - this.#firstWindow;
      this.#firstWindow = value;
    }
    this.#frame(TYPE.settings, ACK, 0, Buffer.alloc(0));
    this.#resume();
  }

  #forget(stream: number): void {
    const sending = this.#sending.get(stream);
    if (sending === undefined) return;
    this.#sending.delete(stream);
    this.#stuck.delete(sending);
  }
}

function writeHead(
  into: Buffer,
  length: number,
  type: number,
  flags: number,
  stream: number,
): void {
  into.writeUIntBE(length, 0, 3);
  into[3] = type;
  into[4] = flags;
  into.writeUInt32BE(stream, 5);
}

function settings(pairs: readonly number[]): Buffer {
  const bytes = Buffer.alloc(pairs.length * 3);
  for (let i = 0; i < pairs.length; i += 2) {
    bytes.writeUInt16BE(pairs[i]!, i * 3);
    bytes.writeUInt32BE(pairs[i + 1]!, i * 3 + 2);
  }
  return bytes;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
