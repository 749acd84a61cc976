import { type IncomingMessage, request, type ServerResponse } from "node:http";

/** A body in which each four bytes say where they stand. */
export function countedBody(bytes: number): Buffer {
  const body = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) body.writeUInt32BE(at, at);
  return body;
}

/** Answers with `body`: whole at `/length` and `/chunked`, in small pieces of their own at `/pieces`. */
export function sendCounted(body: Buffer, asked: IncomingMessage, answer: ServerResponse): void {
  if (asked.url === "/length") answer.setHeader("content-length", body.length);
  if (asked.url !== "/pieces") {
    answer.end(body);
    return;
  }
  const piece = 30_000;
  let at = 0;
  const next = (): void => {
    if (at >= body.length || answer.destroyed) {
      answer.end();
      return;
    }
    answer.write(body.subarray(at, at + piece), () => setImmediate(next));
    at += piece;
  };
  next();
}

/** Reads `path` by fits and starts; fails at the first byte that is not in its place. */
export function readSlowly(
  port: number,
  body: Buffer,
  options: { readonly path: string; readonly host: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { path, host } = options;
    const sent = request(
      { host: "127.0.0.1", port, path, agent: false, headers: { host } },
      (response) => {
        let at = 0;
        let chunks = 0;
        response.on("data", (chunk: Buffer) => {
          if (!chunk.equals(body.subarray(at, at + chunk.length))) {
            reject(new Error(`wrong bytes after ${at} of ${path}`));
            sent.destroy();
          }
          at += chunk.length;
          // Long enough now and then for every buffer on the way to fill up.
          response.pause();
          setTimeout(() => response.resume(), ++chunks % 40 === 0 ? 60 : 1);
        });
        response.on("end", () => {
          if (at === body.length) resolve();
          else reject(new Error(`${at} bytes of ${path}`));
        });
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}
