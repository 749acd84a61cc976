import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Answers `/held` when it is told to, `/endless` never to its end, and everything else at once. */
export class HeldOrigin {
  readonly server: Server;
  readonly held: ServerResponse[] = [];

  constructor() {
    this.server = createServer((request, response) => {
      if (request.url === "/held") this.held.push(response);
      else if (request.url === "/endless") response.write("and so on");
      else response.end("at once");
    });
    this.server.keepAliveTimeout = 60_000;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  release(): void {
    for (const response of this.held.splice(0)) response.end("held");
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}
