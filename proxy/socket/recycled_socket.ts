import { Socket } from "node:net";
import {
  giveReadBuffer,
  isHeld,
  JOIN_BYTES_MAX,
  type ReadInto,
  replaceHeld,
  SHARED_READ,
  takeReadBuffer,
} from "#proxy/socket/held_buffers.ts";

/** Who hears what a recycled socket reads. */
export interface ChunkReader {
  /** What comes now goes on to somebody who may be slow to take it: a body, a tunnel. */
  readonly passesOn: boolean;
  onChunk(chunk: Buffer): void;
  /** `memory` is about to be overwritten: what is kept of it must be copied. */
  letGo(memory: ArrayBufferLike): void;
}

/** The reads of one accepted connection: into what all share, or into a buffer of its own while a body lasts. */
export class RecycledReads implements ReadInto {
  readonly #reader: ChunkReader;
  #current: Buffer<ArrayBuffer> = SHARED_READ;

  constructor(reader: ChunkReader) {
    this.#reader = reader;
  }

  readonly buffer = (): Buffer => {
    if (!this.#reader.passesOn) this.release();
    else if (this.#current === SHARED_READ) this.#current = takeReadBuffer();
    else if (isHeld(this.#current)) this.#current = replaceHeld(this.#current);
    return this.#current;
  };

  readonly callback = (bytes: number): boolean => {
    const current = this.#current;
    const chunk = current.subarray(0, bytes);
    // The next connection reads into the same memory, maybe before this has been taken.
    const mustCopy = bytes > JOIN_BYTES_MAX && current === SHARED_READ && this.#reader.passesOn;
    this.#reader.onChunk(mustCopy ? Buffer.from(chunk) : chunk);
    this.#reader.letGo(current.buffer);
    return true;
  };

  /** The connection reads no more, or no body any more. */
  release(): void {
    if (this.#current === SHARED_READ) return;
    giveReadBuffer(this.#current);
    this.#current = SHARED_READ;
  }
}

/**
 * A socket with the connection of `accepted` that reads into buffers of ours. `net.connect` has that as its
 * option `onread`; a server's sockets come without, and allocate 64 kB for every read. The handle is the only
 * thing taken that is not in Node's documentation; where it is missing, `accepted` itself is returned.
 */
export function recycledSocket(accepted: Socket, onread: ReadInto): Socket {
  const inside = accepted as unknown as { _handle: object | null | undefined };
  const handle = inside._handle;
  if (handle === null || handle === undefined) return accepted;
  inside._handle = null;
  const options = { ...{ handle }, allowHalfOpen: true, onread };
  return new Socket(options as ConstructorParameters<typeof Socket>[0]);
}

/** Names of what `net.Socket` keeps for its option `onread`, which a server's TLS sockets cannot be given. */
const KEPT = ["kBuffer", "kBufferCb", "kBufferGen"] as const;

/**
 * Makes a TLS socket whose handshake is done read into buffers of ours, as `onread` would. False where Node
 * keeps that in another way: the socket then is as it was.
 */
export function recycleTls(socket: Socket, { buffer, callback }: ReadInto): boolean {
  const { _handle: handle } = socket as unknown as {
    _handle: { useUserBuffer?: (memory: Uint8Array) => void } | null | undefined;
  };
  const own = Object.getOwnPropertySymbols(socket);
  const places = KEPT.map((name) => own.find(({ description }) => description === name));
  const [kept, called, made] = places;
  if (!handle?.useUserBuffer || !kept || !called || !made) return false;
  const first = buffer();
  Object.assign(socket, { [kept]: first, [called]: callback, [made]: buffer });
  handle.useUserBuffer(first);
  return true;
}
