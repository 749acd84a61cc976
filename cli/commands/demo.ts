import type { Command } from "commander";
import { runDemo } from "#cli/demo/run.ts";
import { untilStopped } from "#cli/signals.ts";

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("Seven clusters, steady traffic, and something that goes wrong every 15 s.")
    .option("--once", "one round of at most 60 s; exit code 1 if a promise was broken", false)
    .action(async ({ once }: { once: boolean }) => {
      process.exitCode = await runDemo({
        once,
        live: process.stdout.isTTY === true && !once,
        print: (text) => process.stdout.write(`${text}\n`),
        stopped: untilStopped(),
      });
    });
}
