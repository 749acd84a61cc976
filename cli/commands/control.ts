import type { Command } from "commander";
import { startControl } from "#cli/control/start.ts";
import { untilStopped } from "#cli/signals.ts";

export function registerControl(program: Command): void {
  program
    .command("control")
    .description("Runs a cluster's control service, with its nats-server.")
    .requiredOption("-f, --file <path>", "file or directory: the Cluster and its resources")
    .requiredOption("--state <dir>", "made by `espalier ca init` or `espalier join`")
    .addHelpText("after", "\nSIGHUP or a changed file reloads; a bad file is refused.")
    .action(async (options: { file: string; state: string }) => {
      const control = await startControl(options.file, options.state);
      await untilStopped();
      await control.stop();
    });
}
