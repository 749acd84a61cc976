import { stat, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { type HandoverLine, type Offer, readLines, writeLine } from "#cli/proxy/handover_lines.ts";
import type { Millis } from "#kernel/brand.ts";
import { type Clock, sleep } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";

/** The old process may still be starting. */
const OFFER_MS: Millis = 15_000;
const GONE_MS: Millis = 5_000;
/** Who comes says at once who it is: a silent one may not keep a place from others. */
const HELLO_MS: Millis = 2_000;
/** The new process has this long to open its listeners. */
const TAKER_MS: Millis = 120_000;
/** Others may come and go while a place is sought, or say nothing for `HELLO_MS`. */
const TRIES = 100;
const PAUSE_MS: Millis = 50;

export interface HandoverOptions {
  /** The socket. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** For tests: in place of the limits above. */
  readonly limitMs?: Millis;
}

/** What the process that has the place is asked. */
export interface Holder {
  /** May take until the process has started. */
  offer(): Promise<Offer>;
  /** Lets go of what only one can have. */
  release(): Promise<void>;
}

/**
 * The place of the one process that runs with a file or a state directory. A second one that comes learns
 * what the first holds, opens its own listeners beside them, and only then asks the first to go: until that
 * moment the first serves as if nobody had come.
 */
export class Handover {
  readonly #options: HandoverOptions;
  #server: Server | undefined = undefined;
  #before: Socket | undefined = undefined;
  #holder: Holder | undefined = undefined;
  readonly #takers = new Set<Socket>();
  #going = false;
  #onReplaced: () => void = () => {};
  #onHolder: () => void = () => {};
  readonly #hasHolder: Promise<void>;
  /** Resolves when another process has taken over. */
  readonly replaced: Promise<void>;

  constructor(options: HandoverOptions) {
    this.#options = options;
    this.replaced = new Promise((resolve) => {
      this.#onReplaced = resolve;
    });
    this.#hasHolder = new Promise((resolve) => {
      this.#onHolder = resolve;
    });
  }

  /** Takes the place if it is free; else what the process holds that has it. */
  async begin(): Promise<Result<Offer | undefined, string>> {
    const { path, clock } = this.#options;
    let why = "";
    for (let tries = 0; tries < TRIES; tries++) {
      const listening = await this.#listen();
      if (listening.ok) return ok(undefined);
      why = listening.error.message;
      if (listening.error.code !== "EADDRINUSE") break;
      const before = await fileId(path);
      const socket = await connected(path);
      if (socket.ok) {
        const offer = await this.#meet(socket.value);
        if (offer !== "ended") return offer;
        why = "others come and go";
      } else {
        why = socket.error.message;
        // Its process was killed. Not if another one has the place by now.
        const isStale = socket.error.code === "ECONNREFUSED" && before === (await fileId(path));
        if (isStale) await unlink(path).catch(() => {});
      }
      await sleep(clock, PAUSE_MS);
    }
    return err(`${path}: ${why}`);
  }

  /** Asks the process that has the place to go, and takes it. Only after `begin` has given an offer. */
  async take(): Promise<Result<void, string>> {
    const socket = this.#before!;
    // One that ends on its own way is gone as well.
    const gone = this.#answer(socket, GONE_MS);
    writeLine(socket, { kind: "go" });
    const line = await gone;
    socket.destroy();
    if (line === "silent") return err("the process that runs does not let go");
    const again = await this.begin();
    if (!again.ok) return again;
    // A third process was quicker: it is as ready as we are, and goes as well.
    return again.value === undefined ? ok(undefined) : this.take();
  }

  /** From now on a process that comes is answered. */
  serve(holder: Holder): void {
    this.#holder = holder;
    this.#onHolder();
  }

  /** Gives the place up. */
  close(): void {
    this.#before?.destroy();
    this.#server?.close();
    this.#server = undefined;
    for (const taker of this.#takers) taker.destroy();
  }

  #listen(): Promise<Result<void, NodeJS.ErrnoException>> {
    const server = createServer((socket) => this.#accept(socket));
    server.maxConnections = 10;
    return new Promise((resolve) => {
      server.once("error", (error: NodeJS.ErrnoException) => resolve(err(error)));
      server.listen(this.#options.path, () => {
        server.on("error", () => {});
        this.#server = server;
        resolve(ok(undefined));
      });
    });
  }

  async #meet(socket: Socket): Promise<Result<Offer | undefined, string> | "ended"> {
    const answer = this.#answer(socket, OFFER_MS);
    writeLine(socket, { kind: "hello", pid: process.pid });
    const line = await answer;
    // One that has said something, but no line of ours, would say it again.
    if (line === "ended" && socket.bytesRead === 0) return "ended";
    if (line === "ended" || line === "silent" || line.kind !== "offer") {
      socket.destroy();
      return err(`${this.#options.path}: the process that has it does not answer: end it first`);
    }
    this.#before = socket;
    return ok(line.offer);
  }

  #answer(socket: Socket, withinMs: Millis): Promise<HandoverLine | "ended" | "silent"> {
    const { clock, limitMs = withinMs } = this.#options;
    return new Promise((resolve) => {
      const timeout = clock.after(limitMs, () => resolve("silent"));
      const done = (said: HandoverLine | "ended"): void => {
        timeout.cancel();
        resolve(said);
      };
      socket.removeAllListeners("data");
      readLines(socket, done);
      socket.once("close", () => done("ended"));
      if (socket.destroyed) done("ended");
    });
  }

  #accept(socket: Socket): void {
    const { clock, log, limitMs } = this.#options;
    let pid = 0;
    this.#takers.add(socket);
    const end = (): void => void socket.destroy();
    let timeout = clock.after(limitMs ?? HELLO_MS, end);
    socket.on("error", () => {});
    socket.on("close", () => {
      timeout.cancel();
      this.#takers.delete(socket);
      if (pid !== 0 && !this.#going) log.info("the other process gave up; serving on", { pid });
    });
    readLines(socket, (line) => {
      if (line.kind === "hello" && pid === 0) {
        pid = line.pid;
        timeout.cancel();
        timeout = clock.after(limitMs ?? TAKER_MS, end);
        log.info("another process wants to take over", { pid });
        void this.#offer(socket);
      } else if (line.kind === "go" && pid !== 0) void this.#go(socket, pid);
      else socket.destroy();
    });
  }

  async #offer(socket: Socket): Promise<void> {
    await this.#hasHolder;
    writeLine(socket, { kind: "offer", offer: await this.#holder!.offer() });
  }

  async #go(socket: Socket, pid: number): Promise<void> {
    if (this.#going) return;
    this.#going = true;
    this.#options.log.info("another process takes over; draining", { pid });
    // First the place: who comes now must not find us.
    this.#server?.close();
    this.#server = undefined;
    await this.#holder!.release();
    writeLine(socket, { kind: "gone" });
    socket.end();
    this.#takers.delete(socket);
    for (const other of this.#takers) other.destroy();
    this.#onReplaced();
  }
}

function connected(path: string): Promise<Result<Socket, NodeJS.ErrnoException>> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(err(error)));
    socket.once("connect", () => {
      socket.on("error", () => {});
      resolve(ok(socket));
    });
  });
}

/** Tells a socket file from another one of the same name. */
async function fileId(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? "" : `${found.ino} ${found.ctimeNs}`;
}
