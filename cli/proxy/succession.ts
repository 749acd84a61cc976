import { readFileSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { fail } from "#cli/exit.ts";
import { Handover, type Holder } from "#cli/proxy/handover.ts";
import { handoverDir, handoverPath } from "#cli/proxy/handover_dir.ts";
import type { Offer } from "#cli/proxy/handover_lines.ts";
import { systemClock } from "#kernel/clock.ts";
import type { Logger } from "#kernel/log.ts";
import { HeldPorts } from "#proxy/app/held_ports.ts";

/** Linux moves what waits in a closing socket's queue to the others of its port, if this is 1. */
const MIGRATE = "/proc/sys/net/ipv4/tcp_migrate_req";

/** Whether and how processes with SO_REUSEPORT share a port: only Linux spreads new clients evenly. */
export const SHARES_PORTS = process.platform === "linux";

/**
 * Comes after the process that runs with the same file or state directory, if there is one, and before the
 * one that comes next.
 */
export class Succession {
  /** What the process holds that ours is to follow; undefined: there is none. */
  readonly before: Offer | undefined;
  readonly held: HeldPorts;
  /** Resolves when another process has taken over. */
  readonly replaced: Promise<void>;
  readonly #handover: Handover | undefined;
  readonly #log: Logger;

  constructor(handover: Handover | undefined, before: Offer | undefined, log: Logger) {
    this.#handover = handover;
    this.#log = log;
    this.before = before;
    this.held = new HeldPorts(before?.ports);
    this.replaced = handover?.replaced ?? new Promise(() => {});
  }

  /** Ours can serve alone: the one before goes. */
  async take(): Promise<void> {
    if (this.before === undefined) return;
    const { pid } = this.before;
    const taken = await this.#handover!.take();
    if (!taken.ok) throw fail(`process ${pid} cannot be followed: ${taken.error}`);
    this.held.replace([]);
    this.#log.info("took over; the process before drains", { pid, queuesMove: queuesMove() });
  }

  serve(holder: Holder): void {
    this.#handover?.serve(holder);
  }

  close(): void {
    this.#handover?.close();
  }
}

/** @param subject file or state directory that the process runs with. */
export async function beginSuccession(subject: string, log: Logger): Promise<Succession> {
  const nobody = (why: string): Succession => {
    log.warn("no other process will be able to take over from this one", { why });
    return new Succession(undefined, undefined, log);
  };
  if (!SHARES_PORTS) return new Succession(undefined, undefined, log);
  const dir = await handoverDir();
  if (!dir.ok) return nobody(dir.error);
  const path = handoverPath(dir.value, await realpath(subject));
  const handover = new Handover({ path, clock: systemClock, log });
  const before = await handover.begin();
  // Without its answer nothing is known of its ports, and two must not share them unawares.
  if (!before.ok) return nobody(before.error);
  if (before.value !== undefined) {
    log.info("taking over from the process that runs", { pid: before.value.pid });
  }
  return new Succession(handover, before.value, log);
}

function queuesMove(): boolean {
  try {
    return readFileSync(MIGRATE, "utf8").trim() === "1";
  } catch {
    return false;
  }
}
