import { mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "#kernel/result.ts";

/** A state directory that is ours until released. */
export interface StateLock {
  release(): Promise<void>;
}

/**
 * Makes sure that one control service at a time uses a state directory: two would end each other's
 * nats-server. The lock of a process that has died is taken over.
 */
export async function lockState(state: string): Promise<Result<StateLock, string>> {
  await mkdir(state, { recursive: true, mode: 0o700 });
  const path = join(state, "control.pid");
  for (let tries = 0; tries < 2; tries++) {
    try {
      const file = await open(path, "wx", 0o600);
      await file.writeFile(String(process.pid));
      await file.close();
      return ok({ release: () => rm(path, { force: true }) });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const pid = Number(await readFile(path, "utf8").catch(() => ""));
    if (await isControlService(pid)) {
      return err(`${state} is in use by the control service with process id ${pid}`);
    }
    await rm(path, { force: true });
  }
  return err(`${path} cannot be taken: another control service is starting`);
}

/** Where processes cannot be looked at, a living one is taken for a control service. */
async function isControlService(pid: number): Promise<boolean> {
  if (!(pid > 0) || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
  return command === undefined || command.split("\0").includes("control");
}
