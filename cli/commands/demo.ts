import type { Command } from "commander";
import { runDemo } from "#cli/demo/run.ts";
import { usage } from "#cli/exit.ts";
import { untilStopped } from "#cli/signals.ts";

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("Seven clusters, steady traffic, and something that goes wrong every 15 s.")
    .option("--once", "one round of at most 60 s; exit code 1 if a promise was broken", false)
    .option("--json", "with --once: the summary as JSON, and nothing else on stdout", false)
    .action(async ({ once, json }: { once: boolean; json: boolean }) => {
      if (json && !once) throw usage("--json belongs to --once");
      process.exitCode = await runDemo({
        once,
        json,
        live: process.stdout.isTTY === true && !once,
        print: (text) => (json ? process.stderr : process.stdout).write(`${text}\n`),
        stopped: untilStopped(),
      });
    });
}
