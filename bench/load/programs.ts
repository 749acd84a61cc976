import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

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

/** Runs a program on one CPU. @param errors what becomes of what it says there. */
export function startOn(
  cpu: number,
  program: string,
  args: readonly string[],
  errors: "inherit" | "ignore" = "inherit",
): ChildProcess {
  return spawn("taskset", ["-c", String(cpu), program, ...args], {
    stdio: ["ignore", "ignore", errors],
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
