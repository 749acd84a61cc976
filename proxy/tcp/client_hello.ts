/*
 * Reads the server name out of a TLS ClientHello without ending the connection: RFC 8446 §4.1.2 and §5.1,
 * RFC 6066 §3. Bounded: 16 kB, whatever its records and lengths say.
 */

/** What the first bytes of a connection say. `serverName` undefined: the client names none. */
export type ClientHello =
  | { readonly kind: "more" }
  | { readonly kind: "bad"; readonly why: string }
  | { readonly kind: "hello"; readonly serverName: string | undefined };

const HELLO_BYTES_MAX = 16_384;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const MORE: ClientHello = { kind: "more" };

export function readClientHello(bytes: Buffer): ClientHello {
  const message = handshakeBytes(bytes);
  if (message === undefined) {
    return bytes.length >= HELLO_BYTES_MAX ? bad("longer than 16 kB") : MORE;
  }
  if (typeof message === "string") return bad(message);
  const serverName = serverNameOf(message);
  if (serverName === null) return bad("malformed ClientHello");
  return { kind: "hello", serverName };
}

/** The body of the first handshake message, over as many records as it takes; undefined: not yet whole. */
function handshakeBytes(bytes: Buffer): Buffer | string | undefined {
  const parts: Buffer[] = [];
  let have = 0;
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== HANDSHAKE) return "not a TLS handshake";
    if (bytes.length < at + 5) return undefined;
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at + 1] !== 3 || length === 0 || length > HELLO_BYTES_MAX) return "not a TLS record";
    const part = bytes.subarray(at + 5, at + 5 + length);
    parts.push(part);
    have += part.length;
    at += 5 + length;
    const message = have === part.length ? part : Buffer.concat(parts);
    if (message.length < 4) continue;
    if (message[0] !== CLIENT_HELLO) return "not a ClientHello";
    const size = message.readUIntBE(1, 3);
    if (size > HELLO_BYTES_MAX) return "longer than 16 kB";
    if (message.length >= 4 + size) return message.subarray(4, 4 + size);
  }
  return undefined;
}

/** Undefined: no server name; null: it cannot be read. */
function serverNameOf(hello: Buffer): string | undefined | null {
  const reader = new Reader(hello);
  reader.skip(2 + 32);
  reader.skip(reader.u8());
  reader.skip(reader.u16());
  reader.skip(reader.u8());
  if (reader.failed) return null;
  if (reader.left === 0) return undefined;
  const extensions = reader.sub(reader.u16());
  let name: string | undefined;
  while (extensions.left > 0 && !extensions.failed) {
    const type = extensions.u16();
    const body = extensions.sub(extensions.u16());
    if (type !== SERVER_NAME) continue;
    if (name !== undefined) return null;
    const list = body.sub(body.u16());
    const kind = list.u8();
    const host = list.sub(list.u16());
    if (list.failed || kind !== HOST_NAME || list.left > 0) return null;
    name = host.text().toLowerCase();
    if (!/^[a-z0-9._-]{1,253}$/.test(name)) return null;
  }
  return reader.failed || extensions.failed ? null : name;
}

/** Reads numbers and slices; past the end it yields nothing and says so. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  failed = false;

  constructor(bytes: Buffer, failed = false) {
    this.#bytes = bytes;
    this.failed = failed;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#take(1)?.[0] ?? 0;
  }

  u16(): number {
    return this.#take(2)?.readUInt16BE(0) ?? 0;
  }

  skip(length: number): void {
    this.#take(length);
  }

  sub(length: number): Reader {
    const bytes = this.#take(length);
    return bytes === undefined ? new Reader(Buffer.alloc(0), true) : new Reader(bytes);
  }

  text(): string {
    return this.#bytes.latin1Slice(this.#at);
  }

  #take(length: number): Buffer | undefined {
    if (this.failed || length > this.left) {
      this.failed = true;
      return undefined;
    }
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function bad(why: string): ClientHello {
  return { kind: "bad", why };
}
