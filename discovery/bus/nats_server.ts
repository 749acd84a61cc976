import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type BusUser, natsConfigText } from "#discovery/bus/nats_config.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
import type { Millis } from "#kernel/brand.ts";
import { type Clock, sleep } from "#kernel/clock.ts";
import { writeAtomically } from "#kernel/files.ts";
import type { Logger } from "#kernel/log.ts";
import { err, ok, type Result } from "#kernel/result.ts";
import type { Rng } from "#kernel/rng.ts";

/** How the server proves who it is, PEM. */
export interface BusCertificate {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly rootsPem: string;
}

export interface NatsServerOptions {
  readonly binary: string;
  /** Its own directory: configuration, certificates, ports file. */
  readonly dir: string;
  readonly address: string;
  /** 0: chosen by the system at the first start and kept from then on. */
  readonly port: number;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Logger;
}

const START_MS = 10_000;
const STOP_MS = 5_000;
/** One that has lived for so long has not failed to start: the next wait is short again. */
const LIVED_MS = 10_000;

/**
 * A nats-server that we run: configured from our own records, reloaded without a disconnect when they
 * change, started again when it dies.
 */
export class NatsServer {
  readonly #options: NatsServerOptions;
  #process: ChildProcess | undefined = undefined;
  #port: number;
  #closing = false;
  #updating: Promise<void> = Promise.resolve();
  #crashes = 0;

  private constructor(options: NatsServerOptions) {
    this.#options = options;
    this.#port = options.port === 0 ? -1 : options.port;
  }

  static async start(
    options: NatsServerOptions,
    certificate: BusCertificate,
    users: readonly BusUser[],
  ): Promise<Result<NatsServer, string>> {
    const server = new NatsServer(options);
    await mkdir(options.dir, { recursive: true, mode: 0o700 });
    await server.#endStale();
    await server.#write(certificate, users);
    const started = await server.#launch();
    if (!started.ok) return started;
    // Kept, so that clients find it where it was when it is started again.
    server.#port = started.value;
    await server.#write(certificate, users);
    return ok(server);
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Puts another certificate or other users in force; clients whose rights stay keep their connection. */
  update(certificate: BusCertificate, users: readonly BusUser[]): Promise<void> {
    // One after the other: the last one to be asked for is the one that stays.
    const updated = this.#updating.then(async () => {
      await this.#write(certificate, users);
      this.#process?.kill("SIGHUP");
    });
    this.#updating = updated.catch(() => {});
    return updated;
  }

  async close(): Promise<void> {
    this.#closing = true;
    const child = this.#process;
    if (child === undefined) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const timer = this.#options.clock.after(STOP_MS, () => child.kill("SIGKILL"));
    await exited;
    timer.cancel();
  }

  async #write(certificate: BusCertificate, users: readonly BusUser[]): Promise<void> {
    const { dir, address } = this.#options;
    const files = {
      cert: join(dir, "cert.pem"),
      key: join(dir, "key.pem"),
      ca: join(dir, "ca.pem"),
    };
    await writeAtomically(files.key, certificate.keyPem, 0o600);
    await writeAtomically(files.cert, certificate.chainPem);
    await writeAtomically(files.ca, certificate.rootsPem);
    const config = { address, port: this.#port, dir, files, users };
    await writeAtomically(join(dir, "nats.conf"), natsConfigText(config), 0o600);
  }

  /** One that a crash of ours has left behind would hold the port. */
  async #endStale(): Promise<void> {
    const { dir, clock, log } = this.#options;
    const pid = Number(await readFile(pidFile(dir), "utf8").catch(() => ""));
    const isOurs = async (): Promise<boolean> => {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      return command.includes(join(dir, "nats.conf"));
    };
    if (!(pid > 0) || !(await isOurs())) return;
    log.warn("ending the nats-server of an earlier run", { pid });
    process.kill(pid, "SIGTERM");
    for (const until = clock.now() + STOP_MS; clock.now() < until && (await isOurs()); ) {
      await sleep(clock, 20);
    }
  }

  /** The port it listens on. Once it has been up, its end starts it again. */
  async #launch(): Promise<Result<number, string>> {
    const { clock, log } = this.#options;
    let ended: string | undefined;
    let upAt: Millis | undefined;
    let said = "";
    const onEnd = (child: ChildProcess, why: string): void => {
      ended = why;
      if (this.#process === child) this.#process = undefined;
      if (upAt === undefined) return;
      if (clock.now() - upAt >= LIVED_MS) this.#crashes = 0;
      void this.#restart(why);
    };
    const child = await this.#spawn();
    if (!child.ok) return child;
    this.#process = child.value;
    // Without a descriptor to spare there is neither a process nor its pipe.
    child.value.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-2_000);
    });
    child.value.on("error", (error) => onEnd(child.value, error.message));
    child.value.on("exit", (code, signal) =>
      onEnd(child.value, `nats-server ended (${signal ?? `code ${code}`}): ${lastLine(said)}`),
    );
    for (const until = clock.now() + START_MS; clock.now() < until; ) {
      const port = await this.#readPort();
      if (ended !== undefined) return err(ended);
      if (port !== undefined) {
        upAt = clock.now();
        log.info("bus is up", { port });
        return ok(port);
      }
      await sleep(clock, 20);
    }
    child.value.kill("SIGKILL");
    return err(`nats-server did not start within ${START_MS} ms: ${lastLine(said)}`);
  }

  /** The file system, or the system's want of memory, may keep us from it. */
  async #spawn(): Promise<Result<ChildProcess, string>> {
    const { binary, dir } = this.#options;
    try {
      await this.#removePortFiles();
      if (this.#closing) return err("closed");
      return ok(
        spawn(binary, ["-c", join(dir, "nats.conf")], { stdio: ["ignore", "ignore", "pipe"] }),
      );
    } catch (error) {
      return err((error as Error).message);
    }
  }

  /** Tries until it is up: without its bus a cluster is off the mesh. */
  async #restart(reason: string): Promise<void> {
    const { clock, rng, log } = this.#options;
    for (let why = reason; !this.#closing; ) {
      const delayMs = backoffMs(RECONNECT, this.#crashes++, rng);
      log.error("bus ended; starting it again", { why, delayMs });
      await sleep(clock, delayMs);
      if (this.#closing) return;
      const started = await this.#launch();
      if (started.ok) return;
      why = started.error;
    }
  }

  async #readPort(): Promise<number | undefined> {
    for (const name of await this.#portFiles().catch(() => [])) {
      try {
        const ports = JSON.parse(await readFile(join(this.#options.dir, name), "utf8"));
        const port = Number(/:(\d+)$/.exec(ports.nats?.[0] ?? ports.tls?.[0] ?? "")?.[1]);
        if (port > 0) return port;
      } catch {
        // Half written: the next look reads it whole.
      }
    }
    return undefined;
  }

  async #portFiles(): Promise<string[]> {
    return (await readdir(this.#options.dir)).filter((name) => name.endsWith(".ports"));
  }

  async #removePortFiles(): Promise<void> {
    for (const name of await this.#portFiles()) await rm(join(this.#options.dir, name));
  }
}

function pidFile(dir: string): string {
  return join(dir, "nats-server.pid");
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
