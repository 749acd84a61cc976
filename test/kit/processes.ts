import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A line by which a command says that a port is open. */
export interface Ready {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}

/** An `espalier` command as a process of its own. */
export class EspalierProcess {
  readonly child: ChildProcess;
  readonly #ready = new Map<string, Ready>();
  #out = "";
  err = "";

  /** @param filesMax file descriptors that it may have; absent: as many as we. */
  constructor(args: readonly string[], env: Record<string, string> = {}, filesMax?: number) {
    const limit = filesMax === undefined ? "" : `ulimit -n ${filesMax}; `;
    const command = [`${limit}exec "$0" "$@"`, `${ROOT}/espalier`, ...args];
    this.child = spawn("/bin/sh", ["-c", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.child.stdout!.on("data", (chunk: Buffer) => this.#onOut(chunk.toString()));
    this.child.stderr!.on("data", (chunk: Buffer) => {
      this.err += chunk.toString();
    });
  }

  get out(): string {
    return this.#out;
  }

  /** The open port of a listener, once the process has said so. */
  async ready(listener: string): Promise<Ready> {
    await until(`${listener} of ${this.child.spawnargs.slice(4).join(" ")}`, () => {
      if (this.child.exitCode !== null) throw new Error(`ended early: ${this.err}`);
      return this.#ready.has(listener);
    });
    return this.#ready.get(listener)!;
  }

  /** Exit code, once it has ended. */
  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await new Promise((resolve) => this.child.once("exit", resolve));
    }
    return this.child.exitCode;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.child.kill(signal);
    return this.ended();
  }

  #onOut(text: string): void {
    this.#out += text;
    for (const line of this.#out.split("\n")) {
      if (!line.startsWith('{"event":"ready"')) continue;
      try {
        const ready = JSON.parse(line) as Ready;
        this.#ready.set(ready.listener, ready);
      } catch {
        // Cut in the middle: the next chunk brings the rest.
      }
    }
  }
}

/** Runs a command to its end. */
export async function espalier(
  ...args: readonly string[]
): Promise<{ code: number | null; out: string; err: string }> {
  const running = new EspalierProcess(args);
  const closed = new Promise((resolve) => running.child.once("close", resolve));
  const code = await running.ended();
  await closed;
  return { code, out: running.out, err: running.err };
}

/** Waits for a condition; fails with `what` if it does not come true in time. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
