import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type BusUser, natsConfigText } from "#discovery/bus/nats_config.ts";
import { backoffMs, RECONNECT } from "#kernel/backoff.ts";
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
    if (child === undefined || child.exitCode !== null) return;
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

  /** The port it listens on. */
  async #launch(): Promise<Result<number, string>> {
    const { binary, dir, clock, log } = this.#options;
    await this.#removePortFiles();
    const child = spawn(binary, ["-c", join(dir, "nats.conf")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = child;
    let said = "";
    child.stderr!.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-2_000);
    });
    let ended: string | undefined;
    child.on("error", (error) => {
      ended = error.message;
    });
    child.on("exit", (code, signal) => {
      ended = `nats-server ended (${signal ?? `code ${code}`}): ${lastLine(said)}`;
      if (this.#process === child) void this.#restart(ended);
    });
    for (const until = clock.now() + START_MS; clock.now() < until; ) {
      if (ended !== undefined) return err(ended);
      const port = await this.#readPort();
      if (port !== undefined) {
        log.info("bus is up", { port });
        return ok(port);
      }
      await sleep(clock, 20);
    }
    child.kill("SIGKILL");
    return err(`nats-server did not start within ${START_MS} ms: ${lastLine(said)}`);
  }

  async #restart(why: string): Promise<void> {
    // Before the first start has succeeded its caller hears of it.
    if (this.#closing || this.#port === -1) return;
    const { clock, rng, log } = this.#options;
    const delayMs = backoffMs(RECONNECT, this.#crashes++, rng);
    log.error("bus ended; starting it again", { why, delayMs });
    await sleep(clock, delayMs);
    if (this.#closing) return;
    const started = await this.#launch();
    if (started.ok) this.#crashes = 0;
  }

  async #readPort(): Promise<number | undefined> {
    for (const name of await this.#portFiles()) {
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
