import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Loopback alone, and a kernel that hands on what waits in the queue of a listening socket that closes. */
const PREPARE = "ip link set lo up && echo 1 > /proc/sys/net/ipv4/tcp_migrate_req";

/** Whether what waits in the queue of a listening socket moves to another one of its port when it closes. */
export function queuesMove(): boolean {
  try {
    return readFileSync("/proc/sys/net/ipv4/tcp_migrate_req", "utf8").trim() === "1";
  } catch {
    return false;
  }
}

/** Whether tests can have a network namespace of their own: that takes root and Linux. */
export function canHaveOwnNet(): boolean {
  return spawnSync("unshare", ["-n", "sh", "-c", PREPARE]).status === 0;
}

/** Runs the tests of a file whose names match in a network namespace in which queues move. */
export function runInOwnNet(
  file: string,
  names: string,
): Promise<{ code: number | null; out: string }> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", "--test"];
  const args = [
    "-n",
    "sh",
    "-c",
    `${PREPARE} && exec "$0" "$@"`,
    ...node,
    "--test-name-pattern",
    names,
    file,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn("unshare", args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    const hear = (chunk: Buffer): void => {
      out += chunk.toString();
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out }));
  });
}
