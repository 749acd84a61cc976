import { request as requestHttp1 } from "node:http";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { request as requestHttps } from "node:https";
import { MESSAGE_BYTES, message } from "#bench/load/grpc_messages.ts";
import type { Workload } from "#bench/load/workloads.ts";

const LIMIT_MS = 10_000;

/** An answer, as far as the bench looks at it. */
interface Answer {
  readonly status: number;
  readonly bytes: number;
  readonly trailers: Readonly<Record<string, unknown>>;
}

/**
 * One request as those of the load, by Node's own clients. Throws unless the answer is 200 and has its whole body, and
 * gRPC's status behind it: the generators look at less.
 */
export async function probe(workload: Workload, port: number): Promise<void> {
  const { way, name, answerBytes, calls } = workload;
  const ask = way.client === "http1" ? askHttp1 : askHttp2;
  const answer = await withinTime(ask(workload, port));
  const expected = calls === undefined ? answerBytes : MESSAGE_BYTES;
  const isStatus = calls === undefined || answer.trailers["grpc-status"] === "0";
  if (answer.status === 200 && answer.bytes === expected && isStatus) return;
  throw new Error(`${name} on ${port}: ${JSON.stringify(answer)}, not 200 and ${expected} bytes`);
}

function withinTime(answer: Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer in ${LIMIT_MS} ms`)), LIMIT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function bodyOf({ requestBytes, calls }: Workload): Buffer | undefined {
  if (calls !== undefined) return message(1);
  return requestBytes === undefined ? undefined : Buffer.alloc(requestBytes, "x");
}

function askHttp1(workload: Workload, port: number): Promise<Answer> {
  const { path, way } = workload;
  const body = bodyOf(workload);
  const request = way.security === "tls" ? requestHttps : requestHttp1;
  return new Promise((resolve, reject) => {
    const asked = request({
      ...{ host: "127.0.0.1", port, path, method: body === undefined ? "GET" : "POST" },
      ...{ rejectUnauthorized: false, agent: false },
      headers: body === undefined ? {} : { "content-length": body.length },
    });
    asked.on("error", reject);
    asked.on("response", (answer) => {
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode!, bytes, trailers: {} }));
    });
    asked.end(body);
  });
}

function askHttp2(workload: Workload, port: number): Promise<Answer> {
  const { path, way, calls } = workload;
  const body = bodyOf(workload);
  const scheme = way.security === "tls" ? "https" : "http";
  const session = connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const fields = {
    ":path": calls === undefined ? path : "/bench.Echo/Say",
    ":method": body === undefined ? "GET" : "POST",
    ...(calls === undefined ? {} : { "content-type": "application/grpc", te: "trailers" }),
  };
  const answer = new Promise<Answer>((resolve, reject) => {
    session.on("error", reject);
    const asked = session.request(fields, { endStream: body === undefined });
    let [status, bytes] = [0, 0];
    let trailers: IncomingHttpHeaders = {};
    asked.on("error", reject);
    asked.on("response", (head) => {
      status = Number(head[":status"]);
    });
    asked.on("trailers", (came) => {
      trailers = { ...came };
    });
    asked.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    asked.on("close", () => resolve({ status, bytes, trailers }));
    if (body !== undefined) asked.end(body);
  });
  return answer.finally(() => session.destroy());
}
