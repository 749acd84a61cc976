import { spawn } from "node:child_process";

/** Runs a program to its end. */
export function run(
  program: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly out: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    const hear = (chunk: Buffer): void => {
      out += chunk.toString("latin1");
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out }));
  });
}
