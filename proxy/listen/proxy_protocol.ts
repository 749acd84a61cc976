/*
 * The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): a load balancer in front
 * says who the client is, before the connection's first byte.
 */

/** An address and a port. */
export interface Source {
  readonly address: string;
  readonly port: number;
}

/** What the first bytes of a connection say. `length`: of the header, to be skipped. */
export type ProxyHeader =
  | { readonly kind: "more" }
  | { readonly kind: "bad"; readonly why: string }
  /** `source` undefined: the balancer speaks for itself (LOCAL, UNKNOWN), as in a health check. */
  | { readonly kind: "header"; readonly length: number; readonly source: Source | undefined };

const V1_MAX = 107;
/** The specification allows 64 kB; with every TLV that is in use it is far less. */
const V2_MAX = 4_096;
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const MORE: ProxyHeader = { kind: "more" };

export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (bytes.length === 0) return MORE;
  const probe = bytes.subarray(0, SIGNATURE.length);
  if (probe.equals(SIGNATURE.subarray(0, probe.length))) return readV2(bytes);
  return readV1(bytes);
}

function readV1(bytes: Buffer): ProxyHeader {
  const text = bytes.latin1Slice(0, Math.min(bytes.length, V1_MAX));
  const start = "PROXY ";
  if (!text.startsWith(start.slice(0, text.length))) return bad("no PROXY header");
  const end = text.indexOf("\r\n");
  if (end < 0) return text.length < V1_MAX ? MORE : bad("line too long");
  const length = end + 2;
  const [, family, source, target, port, targetPort, ...rest] = text.slice(0, end).split(" ");
  if (family === "UNKNOWN") return { kind: "header", length, source: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : () => false;
  if (rest.length > 0 || !isAddress(source) || !isAddress(target)) return bad("addresses");
  if (!isPort(port) || !isPort(targetPort)) return bad("ports");
  return { kind: "header", length, source: { address: source!, port: Number(port) } };
}

function readV2(bytes: Buffer): ProxyHeader {
  if (bytes.length < 16) return MORE;
  const [version, command] = [bytes[12]! >> 4, bytes[12]! & 15];
  const length = 16 + bytes.readUInt16BE(14);
  if (version !== 2 || command > 1) return bad("version or command");
  if (length > V2_MAX) return bad("too long");
  if (bytes.length < length) return MORE;
  if (command === 0) return { kind: "header", length, source: undefined };
  switch (bytes[13]) {
    case 0x11: {
      if (length < 28) return bad("too short");
      const address = bytes.subarray(16, 20).join(".");
      return { kind: "header", length, source: { address, port: bytes.readUInt16BE(24) } };
    }
    case 0x21: {
      if (length < 52) return bad("too short");
      const groups: string[] = [];
      for (let at = 16; at < 32; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
      const source = { address: groups.join(":"), port: bytes.readUInt16BE(48) };
      return { kind: "header", length, source };
    }
    // Not over IP, or not said: the connection counts as the balancer's own.
    default:
      return { kind: "header", length, source: undefined };
  }
}

/** The header that tells an endpoint of `source`; undefined if nobody knows who the client is. */
export function proxyHeader(
  version: "v1" | "v2",
  source: Source | undefined,
  target: Source,
): Buffer {
  const families = [source?.address, target.address].map((a) =>
    isIPv6(a) ? 6 : isIPv4(a) ? 4 : 0,
  );
  const known = source !== undefined && families[0] === families[1] && families[0] !== 0;
  if (version === "v1") {
    const family = families[0] === 6 ? "TCP6" : "TCP4";
    const line = known
      ? `PROXY ${family} ${source.address} ${target.address} ${source.port} ${target.port}\r\n`
      : "PROXY UNKNOWN\r\n";
    return Buffer.from(line, "latin1");
  }
  if (!known) return Buffer.concat([SIGNATURE, Buffer.from([0x20, 0, 0, 0])]);
  const addresses = [...addressBytes(source.address), ...addressBytes(target.address)];
  const ports = [source.port, target.port].flatMap((port) => [port >> 8, port & 255]);
  const body = [...addresses, ...ports];
  const head = [0x21, families[0] === 6 ? 0x21 : 0x11, 0, body.length];
  return Buffer.concat([SIGNATURE, Buffer.from([...head, ...body])]);
}

function addressBytes(address: string): number[] {
  if (!address.includes(":")) return address.split(".").map(Number);
  const [before, after] = address.split("::");
  const groupsOf = (text: string | undefined): string[] =>
    text === undefined || text === "" ? [] : text.split(":");
  const [left, right] = [groupsOf(before), groupsOf(after)];
  const missing = after === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...new Array<string>(missing).fill("0"), ...right];
  return groups.flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}

function bad(why: string): ProxyHeader {
  return { kind: "bad", why };
}

function isIPv4(text: string | undefined): boolean {
  if (text === undefined || !/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) return false;
  return text.split(".").every((part) => Number(part) <= 255);
}

/** Without the mixed form (`::ffff:1.2.3.4`), which no balancer sends. */
function isIPv6(text: string | undefined): boolean {
  if (text === undefined || !/^[0-9a-fA-F:]{2,39}$/.test(text)) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  if (groups.some((group) => group === "" || group.length > 4)) return false;
  return halves.length === 2 ? groups.length < 8 : groups.length === 8;
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
}
