/** A request as an endpoint reads it that reads one way only. */
export interface CanonicalRequest {
  readonly method: string;
  readonly target: string;
  readonly body: string;
}

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/1\.1$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9a-z-]+): ([\t -~\x80-\xff]*)$/;

/**
 * Reads what a proxy has written to one connection, by a grammar so narrow that every server agrees with it.
 * Throws at the first byte that is outside of it. An incomplete message at the end is left out.
 */
export function readCanonical(bytes: string): CanonicalRequest[] {
  const requests: CanonicalRequest[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf("\r\n\r\n", at);
    if (end < 0) break;
    const [line, ...fields] = bytes.slice(at, end).split("\r\n");
    const [, method, target] = REQUEST_LINE.exec(line!) ?? fail(`request line ${show(line)}`);
    const framing = framingOf(fields);
    const body =
      framing === "chunked" ? readChunks(bytes, end + 4) : readLength(bytes, end + 4, framing);
    if (body === undefined) break;
    requests.push({ method: method!, target: target!, body: body.text });
    at = body.end;
  }
  return requests;
}

function framingOf(fields: readonly string[]): number | "chunked" {
  const seen = new Map<string, string>();
  for (const field of fields) {
    const [, name, value] = FIELD.exec(field) ?? fail(`field ${show(field)}`);
    const plain = name!.replaceAll("_", "-");
    if (plain !== "content-length" && plain !== "transfer-encoding" && plain !== "host") continue;
    if (seen.has(plain) || plain !== name) fail(`field ${show(field)} beside another`);
    seen.set(plain, value!);
  }
  const length = seen.get("content-length");
  const coding = seen.get("transfer-encoding");
  if (length !== undefined && coding !== undefined) fail("both lengths");
  if (coding !== undefined)
    return coding === "chunked" ? "chunked" : fail(`coding ${show(coding)}`);
  if (length === undefined) return 0;
  return /^(?:0|[1-9][0-9]{0,14})$/.test(length) ? Number(length) : fail(`length ${show(length)}`);
}

interface Body {
  readonly text: string;
  readonly end: number;
}

function readLength(bytes: string, at: number, length: number): Body | undefined {
  const end = at + length;
  return end > bytes.length ? undefined : { text: bytes.slice(at, end), end };
}

function readChunks(bytes: string, from: number): Body | undefined {
  let text = "";
  for (let at = from; ; ) {
    const eol = bytes.indexOf("\r\n", at);
    if (eol < 0) return undefined;
    const line = bytes.slice(at, eol);
    if (!/^(?:0|[1-9a-f][0-9a-f]{0,11})$/.test(line)) fail(`chunk size ${show(line)}`);
    const size = Number.parseInt(line, 16);
    at = eol + 2;
    if (size === 0) {
      const done = bytes.startsWith("\r\n", at) ? at - 2 : bytes.indexOf("\r\n\r\n", at);
      if (done < 0) return undefined;
      const trailers = done < at ? [] : bytes.slice(at, done).split("\r\n");
      for (const trailer of trailers) if (!FIELD.test(trailer)) fail(`trailer ${show(trailer)}`);
      return { text, end: done + 4 };
    }
    if (bytes.length < at + size + 2) return undefined;
    text += bytes.slice(at, at + size);
    if (!bytes.startsWith("\r\n", at + size)) fail("a chunk's end");
    at += size + 2;
  }
}

function show(text: string | undefined): string {
  return JSON.stringify(text);
}

function fail(what: string): never {
  throw new Error(`not canonical: ${what}`);
}
