import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { FAILURES } from "#proxy/exchange/failure.ts";
import { serverCertificate } from "#test/kit/certificates.ts";
import { TestPools } from "#test/kit/pool.ts";
import { until } from "#test/kit/processes.ts";

/** TLS 1.3: a server judges the client's certificate when the client has long been done, and may have asked. */
describe("a server that does not let us in, after our handshake", { timeout: 60_000 }, () => {
  let server: Server;
  const heard: TLSSocket[] = [];
  const pools: TestPools[] = [];

  before(async () => {
    const { certificate, key } = await serverCertificate("a.example");
    server = createServer({
      ...{ cert: certificate, key, ca: certificate, ALPNProtocols: ["h2", "http/1.1"] },
      // Of a client without a certificate it says `certificate_required`.
      ...{ requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
    });
    server.on("secureConnection", (socket) => void heard.push(socket));
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => {
    for (const each of pools) each.stop();
    server.close();
  });

  for (const http2 of [false, true]) {
    it(`has read nothing, so any method may be sent elsewhere, over HTTP/${http2 ? "2" : "1.1"}`, async () => {
      const { port } = server.address() as AddressInfo;
      const tls = { rejectUnauthorized: false };
      const to = new TestPools(port, undefined, { tls, http2 });
      pools.push(to);
      // At once, so that requests leave with the end of the handshake; and many, for what comes first differs.
      const asked = Array.from({ length: 30 }, (_, i) => {
        const one = to.ask(`/${i}`, { method: "POST", body: 3 });
        one.stream!.sendBody(Buffer.from("abc"));
        one.stream!.sendEnd(undefined);
        return one;
      });
      await until("all have failed", () => asked.every(({ failure }) => failure !== undefined));
      for (const { failure, status } of asked) {
        assert.deepEqual([failure!.kind, status], ["tls_failed", 0], failure!.detail);
        assert.match(failure!.detail, /CERTIFICATE_REQUIRED/);
      }
      assert.equal(FAILURES.tls_failed.retry, "always");
      assert.deepEqual([heard.length, to.count[0]], [0, 0]);
    });
  }
});
