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
  readonly bytesPerSecond: number;
}

/** Steady load over 64 keep-alive connections. */
export async function wrk(cpu: number, url: string, seconds: number): Promise<LoadResult> {
  const args = ["-c", String(cpu), "wrk", "-t1", "-c64", `-d${seconds}`, "--latency", url];
  const { stdout } = await run("taskset", args);
  const bad = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(stdout);
  if (bad !== null) throw new Error(`${url}: ${bad[0]}`);
  const [, value, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout)!;
  const scale = { us: 0.001, ms: 1, s: 1_000 }[unit as "us" | "ms" | "s"];
  const [, size, sizeUnit] = /Transfer\/sec:\s+([\d.]+)(B|KB|MB|GB)/.exec(stdout)!;
  const bytes = { B: 1, KB: 1_024, MB: 1_024 ** 2, GB: 1_024 ** 3 }[sizeUnit as "B"];
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]),
    requests: Number(/(\d+) requests in/.exec(stdout)![1]),
    p99Ms: Number(value) * scale,
    bytesPerSecond: Number(size) * bytes,
  };
}
