import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** True if the program can be run here. */
export function isInstalled(program: string): boolean {
  const found = spawnSync("sh", ["-c", `command -v ${program}`], {
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
  });
  return found.status === 0;
}

/** Resolves when somebody listens on the port. */
export async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens on ${port}`);
}

/** Runs a program on one CPU. */
export function startOn(cpu: number, program: string, args: readonly string[]): ChildProcess {
  return spawn("taskset", ["-c", String(cpu), program, ...args], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
  });
}

/** An nginx in the foreground, one process. @param server text of its `http` block. */
export function startNginx(cpu: number, dir: string, server: string): ChildProcess {
  mkdirSync(dir, { recursive: true });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${join(dir, kind)};`)
    .join(" ");
  const text = `daemon off; master_process off; worker_processes 1; pid ${join(dir, "pid")};
error_log ${join(dir, "error")};
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; ${temporary}
${server} }
`;
  const file = join(dir, "nginx.conf");
  writeFileSync(file, text);
  return startOn(cpu, "nginx", ["-c", file, "-e", join(dir, "error")]);
}

/** What wrk has measured. */
export interface LoadResult {
  readonly perSecond: number;
  readonly requests: number;
  readonly p99Ms: number;
}

/** How h2load is told to load. */
export interface Http2Load {
  readonly cpu: number;
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  /** On each connection at a time. */
  readonly streams: number;
}

/**
 * Steady load over HTTP/2 in the clear; answers that are no 2xx are an error. It tells no percentiles: the slowest
 * stands for them.
 */
export async function h2load(load: Http2Load): Promise<LoadResult> {
  const { cpu, url, seconds, connections, streams } = load;
  const shape = ["-c", String(connections), "-m", String(streams), "-D", String(seconds)];
  const { stdout } = await run("taskset", ["-c", String(cpu), "h2load", ...shape, url]);
  const [, failed] = /(\d+) failed/.exec(stdout)!;
  const [, good] = /status codes: (\d+) 2xx/.exec(stdout)!;
  const [, , slowest, unit] = /time for request:\s+([\d.]+\w+)\s+([\d.]+)(us|ms|s)/.exec(stdout)!;
  // Those that the end of the time has cut off are not failures of anybody.
  if (Number(failed) > connections * streams) throw new Error(`${url}: ${failed} failed`);
  const scale = { us: 0.001, ms: 1, s: 1_000 }[unit as "us" | "ms" | "s"];
  return {
    requests: Number(good),
    perSecond: Number(good) / seconds,
    p99Ms: Number(slowest) * scale,
  };
}

/** How wrk is told to load. */
export interface Load {
  readonly cpu: number;
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  readonly script: string | undefined;
}

/** Steady load; answers that are no 2xx or 3xx and broken connections are an error. */
export async function wrk(load: Load): Promise<LoadResult> {
  const { cpu, url, seconds, connections, script } = load;
  const args = [
    "-c",
    String(cpu),
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}`,
    "--latency",
    "--timeout",
    "10s",
  ];
  if (script !== undefined) args.push("-s", script);
  const { stdout } = await run("taskset", [...args, url]);
  const bad =
    /Non-2xx or 3xx responses: (\d+)|Socket errors: (?!.*read (\d+), write 0, timeout 0)(.*)/.exec(
      stdout,
    );
  if (bad !== null) throw new Error(`${url}: ${bad[0]}`);
  const [, value, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout)!;
  const scale = { us: 0.001, ms: 1, s: 1_000 }[unit as "us" | "ms" | "s"];
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]),
    requests: Number(/(\d+) requests in/.exec(stdout)![1]),
    p99Ms: Number(value) * scale,
  };
}
