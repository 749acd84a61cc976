import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { FromOrigin, LimitedEndpoint, Mode, ToOrigin } from "#bench/faults/limited_origin.ts";
import { seededRng } from "#kernel/rng.ts";

/*
 * Endpoints whose capacity is a fact: so many servers, each busy with a request for a while, and a queue before them
 * that ends. A process of its own, so that it can be killed. Told by its parent what to be, over IPC.
 */

/** Half the width of the service time's spread, as a share of it. */
const SPREAD = 0.2;
const SLOWER = 10;

class Endpoint {
  readonly #about: LimitedEndpoint;
  readonly #queue: ServerResponse[] = [];
  readonly #rng = seededRng(1);
  /** When each server is done with what it has: by the plan, so that a late timer costs no capacity. */
  readonly #freeAt: number[];
  #busy = 0;
  mode: Mode = "well";
  /** Requests received, turned away ones too. */
  received = 0;
  readonly server: Server;

  constructor(about: LimitedEndpoint) {
    this.#about = about;
    this.#freeAt = new Array<number>(about.servers).fill(0);
    this.server = createServer({ keepAliveTimeout: 120_000 }, (asked, answer) => {
      this.#take(asked, answer);
    });
  }

  #take(asked: IncomingMessage, answer: ServerResponse): void {
    asked.resume();
    this.received++;
    answer.setHeader("x-served-by", this.#about.name);
    if (this.mode === "hole") return;
    if (this.mode === "500" || this.mode === "503") {
      answer.writeHead(Number(this.mode)).end("no");
    } else if (this.#busy < this.#about.servers) this.#begin(answer, performance.now());
    else if (this.#queue.length < this.#about.queue) this.#queue.push(answer);
    else answer.writeHead(503).end("full");
  }

  /** @param now when a server is free for it. */
  #begin(answer: ServerResponse, now: number): void {
    this.#busy++;
    let server = 0;
    for (let i = 1; i < this.#freeAt.length; i++) {
      if (this.#freeAt[i]! < this.#freeAt[server]!) server = i;
    }
    const slower = this.mode === "slow" ? SLOWER : 1;
    const takesMs = this.#about.serviceMs * slower * (1 + SPREAD * (2 * this.#rng.next() - 1));
    const end = now + takesMs;
    this.#freeAt[server] = end;
    setTimeout(
      () => {
        this.#busy--;
        answer.end("ok");
        this.#next(end);
      },
      Math.max(0, end - performance.now()),
    );
  }

  #next(freeAt: number): void {
    // Who has gone is not served.
    while (this.#queue[0]?.destroyed === true) this.#queue.shift();
    const answer = this.#queue.shift();
    if (answer !== undefined) this.#begin(answer, freeAt);
  }
}

const endpoints = (JSON.parse(process.argv[2]!) as LimitedEndpoint[]).map((about) => {
  return { about, endpoint: new Endpoint(about) };
});

function tell(message: FromOrigin): void {
  process.send!(message);
}

process.on("message", (message: ToOrigin) => {
  if (message.kind === "count") {
    tell({ kind: "counts", id: message.id, counts: endpoints.map((one) => one.endpoint.received) });
    return;
  }
  endpoints.forEach(({ endpoint }, i) => {
    if (message.endpoint === undefined || message.endpoint === i) endpoint.mode = message.mode;
  });
});
// Its parent is no more.
process.on("disconnect", () => process.exit(0));

for (const { about, endpoint } of endpoints) {
  await new Promise<void>((resolve) => {
    endpoint.server.listen({ port: about.port, host: "127.0.0.1", backlog: 2_048 }, resolve);
  });
}
const ports = endpoints.map(({ endpoint }) => (endpoint.server.address() as AddressInfo).port);
tell({ kind: "ports", ports });
