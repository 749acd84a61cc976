import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { FrameType, PREFACE } from "#proxy/http2/frames.ts";
import { HpackDecoder } from "#proxy/http2/hpack_decoder.ts";
import { decodeBytes } from "#test/kit/hpack.ts";
import { Speech } from "#test/kit/http2_ends.ts";
import { frame, type HeardFrame, takeFrames, word } from "#test/kit/http2_raw.ts";

const ACK = 1;
const END_STREAM = 1;
/** As large as a connection's window may be. */
const WINDOW_MORE = 0x7fff_ffff - 65_535;

/** A request that has come whole. */
export interface HeardRequest {
  readonly peer: RawHttp2Peer;
  readonly id: number;
  readonly method: string;
  readonly path: string;
}

/** What a server says of itself, and what it does with each request. */
export interface RawBehaviour {
  /** SETTINGS: ids and values. */
  readonly settings?: readonly number[];
  /** False: its windows stay as they were, for it reads nothing. */
  readonly opensWindows?: boolean;
  readonly onConnect?: (peer: RawHttp2Peer) => void;
  readonly onRequest?: (request: HeardRequest) => void;
  /** After the connection has taken note of a frame. */
  readonly onFrame?: (peer: RawHttp2Peer, heard: HeardFrame) => void;
}

/** One connection to a server of frames. */
export class RawHttp2Peer {
  readonly socket: Socket;
  readonly speech = new Speech();
  readonly frames: HeardFrame[] = [];
  closed = false;
  /** Requests that have begun and that nobody has ended. */
  readonly open = new Set<number>();
  readonly #behaviour: RawBehaviour;
  readonly #decoder = new HpackDecoder();
  readonly #heads = new Map<number, readonly [method: string, path: string]>();
  #unread: Buffer = Buffer.alloc(0);
  #greeted = false;

  constructor(socket: Socket, behaviour: RawBehaviour) {
    this.socket = socket;
    this.#behaviour = behaviour;
    socket.on("data", (chunk: Buffer) => this.#hear(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
    this.say(Speech.settings(behaviour.settings ?? []));
    if (behaviour.opensWindows !== false) {
      this.say(frame(FrameType.WINDOW_UPDATE, 0, 0, word(WINDOW_MORE)));
    }
    behaviour.onConnect?.(this);
  }

  say(...frames: readonly Buffer[]): void {
    if (this.socket.writable) this.socket.write(Buffer.concat(frames));
  }

  /** A whole answer with this body. */
  answer(id: number, body: string): void {
    const data = frame(FrameType.DATA, END_STREAM, id, Buffer.from(body));
    this.open.delete(id);
    this.say(this.speech.answer(id, "200", false), data);
  }

  reset(id: number, code: number): Buffer {
    this.open.delete(id);
    return frame(FrameType.RST_STREAM, 0, id, word(code));
  }

  of(type: number, stream?: number): HeardFrame[] {
    return this.frames.filter(
      (heard) => heard.type === type && (stream === undefined || heard.stream === stream),
    );
  }

  #hear(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    if (!this.#greeted) {
      if (this.#unread.length < PREFACE.length) return;
      this.#greeted = true;
      this.#unread = this.#unread.subarray(PREFACE.length);
    }
    const from = this.frames.length;
    this.#unread = takeFrames(this.#unread, this.frames);
    for (const heard of this.frames.slice(from)) this.#act(heard);
  }

  #act(heard: HeardFrame): void {
    const { type, flags, stream, payload } = heard;
    if (type === FrameType.SETTINGS && (flags & ACK) === 0) {
      this.say(frame(FrameType.SETTINGS, ACK, 0));
    } else if (type === FrameType.RST_STREAM) this.open.delete(stream);
    else if (type === FrameType.HEADERS && !this.#heads.has(stream)) {
      const { pairs } = decodeBytes(payload, this.#decoder);
      const said = new Map(pairs.map(([name, value]) => [name, value] as const));
      this.#heads.set(stream, [said.get(":method") ?? "", said.get(":path") ?? ""]);
      this.open.add(stream);
    }
    this.#behaviour.onFrame?.(this, heard);
    const isPart = type === FrameType.HEADERS || type === FrameType.DATA;
    if (!isPart || (flags & END_STREAM) === 0) return;
    if (!this.open.has(stream)) return;
    const [method, path] = this.#heads.get(stream)!;
    this.#behaviour.onRequest?.({ peer: this, id: stream, method, path });
  }
}

/** A server that says frames, right ones and wrong ones. Heads have to fit into one frame. */
export class RawHttp2Server {
  readonly peers: RawHttp2Peer[] = [];
  readonly #server: Server;

  constructor(behaviour: RawBehaviour) {
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.peers.push(new RawHttp2Peer(socket, behaviour));
    });
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    for (const { socket } of this.peers) socket.destroy();
    this.#server.close();
  }
}
