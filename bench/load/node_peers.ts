import { readFileSync } from "node:fs";
import { Agent, createServer, type RequestListener } from "node:http";
import { createServer as createTls } from "node:https";
import { pathToFileURL } from "node:url";

/*
 * What one would write in Node without a proxy of its own: http-proxy, or node:http with undici.
 * Arguments: name, path of the package, port of the origin, plain port, TLS port, certificate, key.
 */

const [name, at, origin, plain, tls, certificate, key] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
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

const listener = name === "http-proxy" ? await viaHttpProxy() : await viaUndici();
createServer(listener).listen(Number(plain), "127.0.0.1");
createTls({ cert: readFileSync(certificate), key: readFileSync(key) }, listener).listen(
  Number(tls),
  "127.0.0.1",
);
