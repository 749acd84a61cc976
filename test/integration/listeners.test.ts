import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import {
  type ConnectionOptions,
  createServer as createTls,
  type TLSSocket,
  connect as tlsConnect,
} from "node:tls";
import { proxyHeader } from "#proxy/listen/proxy_protocol.ts";
import { type ServerCertificate, serverCertificate } from "#test/kit/certificates.ts";
import { problemsOf, snapshotOf } from "#test/kit/gateway.ts";
import { get, rawExchange, TestOrigin } from "#test/kit/http.ts";
import { freePort } from "#test/kit/ports.ts";
import { until } from "#test/kit/processes.ts";
import { simpleSnapshot, startPlane } from "#test/kit/proxy.ts";

const close: Array<() => Promise<unknown> | unknown> = [];
afterEach(async () => {
  for (const act of close.splice(0).reverse()) await act();
});

const GET = "GET / HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n";

function gateway(listeners: string, more = ""): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: espalier, listeners: [${listeners}]${more} }
---
`;
}

function httpRoute(name: string, service: string, section: string, hostnames = "[]"): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name} }
spec:
  parentRefs: [{ name: edge, sectionName: ${section} }]
  hostnames: ${hostnames}
  rules: [{ backendRefs: [{ name: ${service}, port: 80 }] }]
---
`;
}

function streamRoute(kind: string, name: string, service: string, hostnames = "[]"): string {
  return `apiVersion: gateway.networking.k8s.io/v1alpha2
kind: ${kind}
metadata: { name: ${name} }
spec:
  parentRefs: [{ name: edge }]
  hostnames: ${hostnames}
  rules: [{ backendRefs: [{ name: ${service}, port: 80 }] }]
---
`;
}

function service(name: string, port: number, more = ""): string {
  return `apiVersion: espalier.dev/v1alpha1
kind: Service
metadata: { name: ${name} }
spec: { ports: [{ port: 80${more.includes("tcp") ? ", appProtocol: tcp" : ""} }], endpoints: [{ address: 127.0.0.1, port: ${port} }]${more.replace("tcp", "")} }
---
`;
}

function secret(name: string, { certificate, key }: ServerCertificate): string {
  const data = (text: string): string => Buffer.from(text).toString("base64");
  return `apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: { name: ${name} }
data: { tls.crt: ${data(certificate)}, tls.key: ${data(key)} }
---
`;
}

async function start(
  yaml: string,
): Promise<{ ports: number[]; log: { lines: readonly unknown[] } }> {
  const { plane, statuses, log } = await startPlane(snapshotOf(yaml));
  close.push(() => plane.drain(0));
  return { ports: statuses.map(({ bound, problem }) => bound?.port ?? assert.fail(problem)), log };
}

async function tcpServer(onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  close.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A TLS client that trusts anybody; what it heard, and who showed which certificate. */
async function secure(
  port: number,
  options: ConnectionOptions & { say?: string } = {},
): Promise<{ text: string; shown: string; reused: boolean; socket: TLSSocket }> {
  const socket = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  await once(socket, "secureConnect");
  // A resumed session shows none.
  const shown = socket.getPeerCertificate().subject?.CN;
  const reused = socket.isSessionReused();
  if (options.say !== undefined) socket.write(options.say);
  await once(socket, "close");
  return { text, shown: String(shown), reused, socket };
}

describe("listeners", { timeout: 60_000 }, () => {
  const a = new TestOrigin("a");
  const b = new TestOrigin("b");
  let shop: ServerCertificate;
  let wild: ServerCertificate;
  before(async () => {
    await Promise.all([a.start(), b.start()]);
    shop = await serverCertificate("shop.example");
    wild = await serverCertificate("*.wild.example", "wild.example");
  });
  after(() => Promise.all([a.stop(), b.stop()]));

  /** One port, two HTTPS listeners by server name. */
  const twoNames = (port: number): string =>
    gateway(
      `{ name: shop, port: ${port}, protocol: HTTPS, hostname: shop.example, tls: { certificateRefs: [{ name: shop }] } },
       { name: wild, port: ${port}, protocol: HTTPS, hostname: "*.wild.example", tls: { certificateRefs: [{ name: wild }] } }`,
    ) +
    secret("shop", shop) +
    secret("wild", wild) +
    httpRoute("a", "a", "shop") +
    httpRoute("b", "b", "wild") +
    service("a", a.port) +
    service("b", b.port);

  it("of one port show the certificate and take the routes of the name that is asked for", async () => {
    const free = await freePort();
    const { ports } = await start(twoNames(free));
    const [port] = ports as [number, number];
    const asked = (servername: string, host = servername) =>
      secure(port, { servername, say: GET.replace("HOST", host) });
    const first = await asked("shop.example");
    assert.equal(first.shown, "shop.example");
    assert.match(first.text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\na$/s);
    const second = await asked("x.wild.example");
    assert.equal(second.shown, "*.wild.example");
    assert.match(second.text, /\r\n\r\nb$/);
    assert.equal(a.seen.at(-1)!.headers["x-forwarded-proto"], "https");
    // Another listener's host over this connection.
    assert.match((await asked("shop.example", "x.wild.example")).text, /^HTTP\/1\.1 421 /);
    await assert.rejects(asked("nobody.example"), /alert|reset|hang up|disconnected/i);
    // A client that names nobody gets the first certificate.
    assert.equal(
      (await secure(port, { say: GET.replace("HOST", "shop.example") })).shown,
      "shop.example",
    );
  });

  it("keep to TLS 1.2 and above, agree on h2 or http/1.1, and resume sessions", async () => {
    const { ports } = await start(twoNames(await freePort()));
    const [port] = ports as [number, number];
    const servername = "shop.example";
    const say = GET.replace("HOST", servername);
    await assert.rejects(
      secure(port, { servername, maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" }),
    );
    const two = await secure(port, { servername, maxVersion: "TLSv1.2", say });
    assert.match(two.text, /^HTTP\/1\.1 200/);
    const alpn = await secure(port, { servername, ALPNProtocols: ["http/1.1"], say });
    assert.equal(alpn.socket.alpnProtocol, "http/1.1");
    await assert.rejects(secure(port, { servername, ALPNProtocols: ["h3"], say }));
    const both = { port, host: "127.0.0.1", rejectUnauthorized: false, servername };
    const preferred = tlsConnect({ ...both, ALPNProtocols: ["http/1.1", "h2"] });
    await once(preferred, "secureConnect");
    assert.equal(preferred.alpnProtocol, "h2");
    preferred.destroy();
    const socket = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false, servername });
    const [session] = (await once(socket, "session")) as [Buffer];
    socket.destroy();
    const again = await secure(port, { servername, session, say });
    assert.equal(again.reused, true);
    assert.match(again.text, /^HTTP\/1\.1 200/);
  });

  it("let a handshake end, and the request after it, when they drain", async () => {
    const { plane, statuses } = await startPlane(snapshotOf(twoNames(await freePort())));
    const { port } = statuses[0]!.bound!;
    const under = connect(port, "127.0.0.1");
    await once(under, "connect");
    let over = false;
    const drained = plane.drain(60_000).then(() => {
      over = true;
    });
    await until("nobody is let in any more", async () => {
      const late = connect(port, "127.0.0.1");
      const [said] = await Promise.race([once(late, "connect"), once(late, "close")]).catch(
        (error: NodeJS.ErrnoException) => [error.code],
      );
      late.destroy();
      return said === "ECONNREFUSED";
    });
    assert.equal(over, false);
    const servername = "shop.example";
    const say = `GET / HTTP/1.1\r\nhost: ${servername}\r\n\r\n`;
    const { text } = await secure(port, { socket: under, servername, say });
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n\r\na$/is);
    await drained;
  });

  it("take up a certificate that is renewed, without touching open connections", async () => {
    const directory = mkdtempSync(join(tmpdir(), "espalier-"));
    close.push(() => rmSync(directory, { recursive: true }));
    const write = ({ certificate, key }: ServerCertificate): void => {
      writeFileSync(join(directory, "tls.crt"), certificate);
      writeFileSync(join(directory, "tls.key"), key);
    };
    write(shop);
    const { ports, log } = await start(
      `${gateway(
        `{ name: shop, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ kind: Certificate, name: files }] } }`,
      )}apiVersion: espalier.dev/v1alpha1
kind: Certificate
metadata: { name: files }
spec: { certificateFile: ${directory}/tls.crt, keyFile: ${directory}/tls.key }
---
${httpRoute("a", "a", "shop")}${service("a", a.port)}`,
    );
    const [port] = ports as [number];
    const open = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false });
    await once(open, "secureConnect");
    write(await serverCertificate("renewed.example"));
    const say = GET.replace("HOST", "any");
    for (const servername of [undefined, "shop.example", "never.asked.example"]) {
      const named = servername === undefined ? { say } : { say, servername };
      await until(
        `the new one for ${servername}`,
        async () => (await secure(port, named)).shown === "renewed.example",
      );
    }
    open.write(say);
    const [answer] = (await once(open, "data")) as [Buffer];
    assert.match(String(answer), /^HTTP\/1\.1 200/);
    writeFileSync(join(directory, "tls.key"), "nonsense");
    await until("the refusal", () => log.lines.length > 0);
    assert.equal((await secure(port, { say })).shown, "renewed.example");
  });

  it("keep their port where the new one cannot be had, and move when it can", async () => {
    const origin = await tcpServer((socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 204 No Content\r\n\r\n"));
    });
    const old = await freePort();
    const { plane, log } = await startPlane(simpleSnapshot([origin], { listenerPort: old }));
    close.push(() => plane.drain(0));
    const asks = async (port: number) =>
      (await rawExchange(port, GET.replace("HOST", "a"), 500)).slice(0, 12);
    assert.equal(await asks(old), "HTTP/1.1 204");
    const busy = createServer();
    await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
    const { port: wanted } = busy.address() as AddressInfo;
    const moved = simpleSnapshot([origin], { revision: "2", listenerPort: wanted });
    plane.apply(moved);
    const statuses = await plane.settled();
    assert.match(statuses[0]!.problem!, /EADDRINUSE/);
    assert.equal(log.lines.length, 1);
    assert.equal(await asks(old), "HTTP/1.1 204");
    await new Promise((resolve) => busy.close(resolve));
    plane.apply({ ...moved, revision: "3" });
    const [status] = await plane.settled();
    assert.equal(status!.bound!.port, wanted);
    assert.equal(await asks(wanted), "HTTP/1.1 204");
    await until("the old one is closed", async () =>
      asks(old).then(
        (said) => said === "",
        () => true,
      ),
    );
  });

  it("refuse a key of another kind than its certificate's", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const key = String(privateKey.export({ type: "pkcs8", format: "pem" }));
    const yaml =
      gateway(
        "{ name: shop, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ name: shop }] } }",
      ) + secret("shop", { certificate: shop.certificate, key });
    const { plane, statuses } = await startPlane(snapshotOf(yaml));
    close.push(() => plane.drain(0));
    assert.match(statuses[0]!.problem!, /the key is not the certificate's/);
  });

  it("pass TLS through by its server name, and TCP by its port", async () => {
    const origin = createTls({ cert: shop.certificate, key: shop.key }, (socket) =>
      socket.end("in"),
    );
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    close.push(() => origin.close());
    const { port: tlsPort } = origin.address() as AddressInfo;
    const greeter = await tcpServer((socket) => {
      socket.write("220 hello\r\n");
      let all = "";
      socket.on("data", (chunk) => {
        all += chunk;
      });
      socket.on("end", () => socket.end(`got ${all.length}`));
    });
    const { ports } = await start(
      gateway(
        "{ name: tls, port: 0, protocol: TLS, tls: { mode: Passthrough } }, { name: tcp, port: 0, protocol: TCP }",
      ) +
        streamRoute("TLSRoute", "s", "s", "[shop.example, '*.wild.example']") +
        streamRoute("TCPRoute", "t", "t") +
        service("s", tlsPort, "tcp") +
        service("t", greeter, "tcp"),
    );
    const [tls, tcp] = ports as [number, number];
    for (const servername of ["shop.example", "deep.x.wild.example"]) {
      const { text, shown } = await secure(tls, { servername });
      assert.deepEqual([text, shown], ["in", "shop.example"]);
    }
    await assert.rejects(secure(tls, { servername: "other.example" }));
    await assert.rejects(secure(tls));
    assert.equal(await rawExchange(tls, "GET / HTTP/1.1\r\n\r\n"), "");
    // The server speaks first; each side ends by itself.
    const socket = connect({ port: tcp, host: "127.0.0.1", allowHalfOpen: true });
    let said = "";
    socket.on("data", (chunk) => {
      said += chunk.toString();
    });
    await until("the greeting", () => said === "220 hello\r\n");
    socket.end(Buffer.alloc(2_000_000, "x"));
    await once(socket, "end");
    assert.equal(said, "220 hello\r\ngot 2000000");
  });

  it("close a connection whose service is not there, and try the next endpoint before that", async () => {
    const alive = await tcpServer((socket) => socket.end("alive"));
    const dead = await freePort();
    const two = service("t", alive, "tcp").replace(
      "endpoints: [",
      `endpoints: [{ address: 127.0.0.1, port: ${dead} }, `,
    );
    const base =
      gateway("{ name: tcp, port: 0, protocol: TCP }") + streamRoute("TCPRoute", "t", "t");
    const [port] = (await start(base + two)).ports as [number];
    for (let i = 0; i < 10; i++) assert.equal(await rawExchange(port, ""), "alive");
    const [gone] = (await start(base + service("t", dead, "tcp"))).ports as [number];
    assert.equal(await rawExchange(gone, "hello"), "");
  });

  it("believe a PROXY header of listed peers only, before TLS as well", async () => {
    const parameters = (block: string): string => `apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { proxyProtocol: { trusted: [${block}] }, timeouts: { head: 200ms } }
---
`;
    const yaml = (block: string): string =>
      gateway(
        `{ name: http, port: 0, protocol: HTTP },
         { name: https, port: 0, protocol: HTTPS, tls: { certificateRefs: [{ name: shop }] } }`,
        ", infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }",
      ) +
      parameters(block) +
      secret("shop", shop) +
      httpRoute("a", "a", "http") +
      httpRoute("b", "b", "https") +
      service("a", a.port) +
      service("b", b.port);
    const target = { address: "198.51.100.9", port: 80 };
    const { ports } = await start(yaml("127.0.0.0/8"));
    const [http, https] = ports as [number, number];
    for (const version of ["v1", "v2"] as const) {
      const header = proxyHeader(version, { address: "192.0.2.7", port: 4_000 }, target);
      const said = await rawExchange(http, Buffer.concat([header, Buffer.from(GET)]));
      assert.match(said, /^HTTP\/1\.1 200/);
      assert.equal(a.seen.at(-1)!.headers["x-forwarded-for"], "192.0.2.7");
      const plain = connect(https, "127.0.0.1");
      await once(plain, "connect");
      // In two pieces, the second with the ClientHello right behind it.
      plain.write(header.subarray(0, 9));
      plain.write(header.subarray(9));
      const { text } = await secure(https, { socket: plain, say: GET });
      assert.match(text, /^HTTP\/1\.1 200/);
      assert.equal(b.seen.at(-1)!.headers["x-forwarded-for"], "192.0.2.7");
    }
    assert.equal(await rawExchange(http, GET), "");
    assert.equal(await rawExchange(http, "PROXY TCP4 "), "");
    const [other] = (await start(yaml("10.0.0.0/8"))).ports as [number];
    const forged = proxyHeader("v1", { address: "192.0.2.7", port: 4_000 }, target);
    assert.match(
      await rawExchange(other, Buffer.concat([forged, Buffer.from(GET)])),
      /^HTTP\/1\.1 400/,
    );
    assert.match(await rawExchange(other, GET), /^HTTP\/1\.1 200/);
  });

  it("hand on what has come with a PROXY header, whoever has it next and wherever it is cut", async () => {
    const parameters = `apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec: { proxyProtocol: { trusted: [127.0.0.0/8] } }
---
`;
    // Answers with what it has been sent, once the client has ended.
    const mirror = await tcpServer((socket) => {
      const heard: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => heard.push(chunk));
      socket.on("end", () => socket.end(Buffer.concat(heard)));
    });
    const { ports } = await start(
      gateway(
        `{ name: http, port: 0, protocol: HTTP }, { name: tcp, port: 0, protocol: TCP },
         { name: tls, port: 0, protocol: TLS, tls: { mode: Passthrough } }`,
        ", infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }",
      ) +
        parameters +
        httpRoute("a", "a", "http") +
        streamRoute("TCPRoute", "t", "t") +
        streamRoute("TLSRoute", "s", "t", "[shop.example]") +
        service("a", a.port) +
        service("t", mirror, "tcp"),
    );
    const [http, tcp, tls] = ports as [number, number, number];
    const target = { address: "198.51.100.9", port: 80 };
    const header = proxyHeader("v2", { address: "192.0.2.7", port: 4_000 }, target);
    const hello = await helloOf("shop.example");
    const sayings: ReadonlyArray<[number, Buffer, (said: string) => void]> = [
      [http, Buffer.from(GET), (said) => assert.match(said, /^HTTP\/1\.1 200/)],
      [tcp, Buffer.from("hello"), (said) => assert.equal(said, "hello")],
      [tls, hello, (said) => assert.equal(said, hello.latin1Slice())],
    ];
    for (const [port, bytes, judge] of sayings) {
      const all = Buffer.concat([header, bytes]);
      for (const cut of [header.length - 1, header.length, header.length + 3, all.length]) {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
        let said = "";
        socket.on("data", (chunk: Buffer) => {
          said += chunk.latin1Slice();
        });
        const ended = once(socket, "end");
        socket.setNoDelay(true);
        socket.write(all.subarray(0, cut));
        await new Promise((resolve) => setTimeout(resolve, 20));
        socket.end(all.subarray(cut));
        await ended;
        judge(said);
      }
    }
  });

  it("tell an endpoint who the client is by a PROXY header", async () => {
    const heard: Buffer[] = [];
    const origin = await tcpServer((socket) => {
      socket.once("data", (chunk: Buffer) => {
        heard.push(chunk);
        socket.end();
      });
    });
    for (const version of ["v1", "v2"]) {
      const { ports } = await start(
        gateway("{ name: tcp, port: 0, protocol: TCP }") +
          streamRoute("TCPRoute", "t", "t") +
          service("t", origin, `tcp, proxyProtocol: ${version}`),
      );
      const socket = connect(ports[0]!, "127.0.0.1");
      await once(socket, "connect");
      const { localPort } = socket;
      await once(socket, "close");
      const header = proxyHeader(
        version as "v1" | "v2",
        { address: "127.0.0.1", port: localPort! },
        { address: "127.0.0.1", port: origin },
      );
      assert.ok(heard.at(-1)!.equals(header), heard.at(-1)!.toString("latin1"));
    }
  });

  it("follow the limits and the trust that parameters give them", async () => {
    const { ports } = await start(
      `${gateway(
        "{ name: http, port: 0, protocol: HTTP }",
        ", infrastructure: { parametersRef: { group: espalier.dev, kind: GatewayParameters, name: p } }",
      )}apiVersion: espalier.dev/v1alpha1
kind: GatewayParameters
metadata: { name: p }
spec:
  limits: { headBytes: 2048, headers: 10, targetBytes: 256 }
  forwarding: { trusted: ["127.0.0.1"], forwarded: true }
---
${httpRoute("a", "a", "http")}${service("a", a.port)}`,
    );
    const [port] = ports as [number];
    const status = async (options: Parameters<typeof get>[1]) => (await get(port, options)).status;
    assert.equal(await status({ path: `/${"x".repeat(300)}` }), 414);
    assert.equal(await status({ headers: { big: "x".repeat(3_000) } }), 431);
    const many = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`h${i}`, "1"]));
    assert.equal(await status({ headers: many }), 431);
    assert.equal(await status({ headers: { "x-forwarded-for": "203.0.113.9" } }), 200);
    const seen = a.seen.at(-1)!.headers;
    assert.equal(seen["x-forwarded-for"], "203.0.113.9, 127.0.0.1");
    assert.match(
      String(seen["forwarded"]),
      /^for="127\.0\.0\.1:\d+";proto=http;host="127\.0\.0\.1:\d+"$/,
    );
  });

  it("are refused with their place where they cannot be meant", () => {
    const cases: Array<[string, RegExp]> = [
      [gateway("{ name: x, port: 1, protocol: HTTPS }"), /tls: HTTPS needs/],
      [gateway("{ name: x, port: 1, protocol: TLS }"), /mode: Passthrough/],
      [gateway("{ name: x, port: 1, protocol: TCP, hostname: a.b }"), /names no host/],
      [gateway("{ name: x, port: 1, protocol: HTTP, tls: {} }"), /not for protocol HTTP/],
      [gateway("{ name: x, port: 1, protocol: UDP }"), /protocol/],
      [
        gateway("{ name: x, port: 1, protocol: HTTPS, tls: { certificateRefs: [{ name: z }] } }"),
        /no Secret default\/z/,
      ],
      [
        gateway("{ name: x, port: 1, protocol: HTTP }, { name: y, port: 1, protocol: TCP }"),
        /speaks HTTP already/,
      ],
      [
        gateway("{ name: x, port: 1, protocol: HTTP }, { name: y, port: 1, protocol: HTTP }"),
        /listener for \* already/,
      ],
      [
        gateway("{ name: x, port: 1, protocol: TCP }") + httpRoute("h", "a", "x") + service("a", 1),
        /no listener for a HTTPRoute/,
      ],
      [
        gateway("{ name: x, port: 1, protocol: HTTP }") +
          httpRoute("h", "a", "x") +
          service("a", 1, "tcp"),
        /needs appProtocol http/,
      ],
      [
        (
          gateway("{ name: x, port: 1, protocol: HTTP }") +
          httpRoute("h", "a", "x") +
          service("a", 1)
        )
          .replace("{ name: h }", "{ name: h, namespace: other }")
          .replace("name: edge, s", "name: edge, namespace: default, s"),
        /takes no routes from namespace other/,
      ],
      [service("a", 1, ", proxyProtocol: v1"), /only for appProtocol: tcp/],
      [secret("s", shop).replace(/\ndata:.*\n/, "\n"), /needs tls\.crt and tls\.key/],
    ];
    for (const [yaml, expected] of cases) assert.match(problemsOf(yaml).join("\n"), expected);
  });
});

/** What a TLS client begins with that asks for `servername`. */
async function helloOf(servername: string): Promise<Buffer> {
  let hello: Buffer | undefined;
  const port = await tcpServer((socket) => {
    socket.once("data", (chunk: Buffer) => {
      hello = chunk;
    });
  });
  const client = tlsConnect({ port, host: "127.0.0.1", servername });
  client.on("error", () => {});
  await until("the ClientHello", () => hello !== undefined);
  client.destroy();
  return hello!;
}
