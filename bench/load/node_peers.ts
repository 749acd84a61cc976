import { readFileSync } from "node:fs";
import { Agent, createServer, type RequestListener, request as requestHttp1 } from "node:http";
import {
  connect,
  createServer as createHttp2,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createTls } from "node:https";
import { pathToFileURL } from "node:url";

/*
 * What one would write in Node without a proxy of its own: http-proxy, node:http with undici, or node:http2.
 * Arguments: name, path of the package (of node:http2 what its origin speaks), port of the origin, own port;
 * certificate and key if that is one for TLS.
 */

const [name, at, origin, port, certificate, key] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string | undefined,
  string | undefined,
];
const base = `http://127.0.0.1:${origin}`;

async function viaHttpProxy(): Promise<RequestListener> {
  const { default: httpProxy } = await import(pathToFileURL(`${at}/index.js`).href);
  const agent = new Agent({ keepAlive: true, maxSockets: 1_024 });
  const proxy = httpProxy.createProxyServer({ target: base, agent, xfwd: true });
  proxy.on("error", () => {});
  return (request, response) => proxy.web(request, response);
}

async function viaUndici(): Promise<RequestListener> {
  const { Pool } = await import(pathToFileURL(`${at}/index.js`).href);
  const pool = new Pool(base, { connections: 256, pipelining: 1 });
  return (request, response) => {
    const {
      connection: _hop,
      "transfer-encoding": _framing,
      expect: _expect,
      ...headers
    } = request.headers;
    const bodied = request.headers["content-length"] !== undefined;
    const body = bodied ? request : null;
    const asked = { path: request.url, method: request.method, headers, body, opaque: response };
    pool.stream(
      asked,
      (answer: {
        statusCode: number;
        headers: Record<string, string>;
        opaque: typeof response;
      }) => {
        const { "transfer-encoding": _chunks, connection: _end, ...rest } = answer.headers;
        return answer.opaque.writeHead(answer.statusCode, rest);
      },
      (error: Error | null) => {
        if (error !== null) response.destroy();
      },
    );
  };
}

type Pass = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** All requests over one connection, as `http2.connect` gives it. */
function toHttp2(): Pass {
  const session = connect(base);
  session.on("error", () => {});
  return (stream, headers) => {
    const asked = session.request({ ...headers });
    let trailers: IncomingHttpHeaders | undefined;
    stream.on("error", () => asked.close());
    asked.on("error", () => stream.close());
    asked.on("response", (answer) => {
      if (!stream.destroyed) stream.respond({ ...answer }, { waitForTrailers: true });
    });
    asked.on("trailers", (came) => {
      trailers = came;
    });
    stream.on("wantTrailers", () => {
      // Without any it is an end in an empty frame; `close` would throw away what has not left.
      if (!stream.destroyed) stream.sendTrailers({ ...trailers });
    });
    stream.pipe(asked);
    asked.pipe(stream);
  };
}

function toHttp1(): Pass {
  const agent = new Agent({ keepAlive: true, maxSockets: 1_024 });
  return (stream, headers) => {
    const { ":method": method, ":path": path, ":authority": host, ":scheme": _, ...rest } = headers;
    const asked = requestHttp1(base, {
      ...{ agent, method: String(method), path: String(path) },
      headers: { ...rest, host: String(host) },
    });
    stream.on("error", () => asked.destroy());
    asked.on("error", () => stream.close());
    asked.on("response", (answer) => {
      const { connection: _hop, "keep-alive": _time, ...fields } = answer.headers;
      delete fields["transfer-encoding"];
      if (stream.destroyed) return;
      stream.respond({ ":status": answer.statusCode!, ...fields });
      answer.pipe(stream);
    });
    stream.pipe(asked);
  };
}

if (name === "node:http2") {
  const pass = at === "http2" ? toHttp2() : toHttp1();
  createHttp2().on("stream", pass).listen(Number(port), "127.0.0.1");
} else {
  const listener = name === "http-proxy" ? await viaHttpProxy() : await viaUndici();
  const server =
    certificate === undefined
      ? createServer(listener)
      : createTls({ cert: readFileSync(certificate), key: readFileSync(key!) }, listener);
  server.listen(Number(port), "127.0.0.1");
}
