#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { CommandError, EXIT } from "#cli/exit.ts";
import { VERSION } from "#cli/version.ts";

const EXIT_CODES = `
Exit codes:
  0  done
  1  it ran and something went wrong
  2  the command line or a configuration is wrong; nothing was started
  3  something that must be installed is missing`;

const program = new Command("espalier")
  .description("A service mesh and global traffic router for trees of clusters.")
  .version(VERSION)
  .addHelpText("after", EXIT_CODES)
  .showHelpAfterError("(--help shows the options)")
  .exitOverride();

/** Only the asked command is loaded: a proxy need not hold what a control service is made of. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  up: async () => (await import("#cli/commands/up.ts")).registerUp,
  proxy: async () => (await import("#cli/commands/proxy.ts")).registerProxy,
  control: async () => (await import("#cli/commands/control.ts")).registerControl,
  ca: async () => (await import("#cli/commands/ca.ts")).registerCa,
  token: async () => (await import("#cli/commands/token.ts")).registerToken,
  join: async () => (await import("#cli/commands/join.ts")).registerJoin,
  explain: async () => (await import("#cli/commands/explain.ts")).registerExplain,
  cluster: async () => (await import("#cli/commands/cluster.ts")).registerCluster,
  demo: async () => (await import("#cli/commands/demo.ts")).registerDemo,
};

const asked = COMMANDS[process.argv[2] ?? ""];
for (const load of asked === undefined ? Object.values(COMMANDS) : [asked]) (await load())(program);
for (const command of program.commands) command.exitOverride().copyInheritedSettings(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommandError) {
    process.stderr.write(`${error.lines.join("\n")}\n`);
    // Not `exitCode`: what was started before the failure may still hold timers.
    process.exit(error.code);
  } else if (error instanceof CommanderError) {
    // Commander has printed what there is to say; help and version are no errors.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else if (isFromSystem(error)) {
    process.stderr.write(`${error.message}\n`);
    process.exit(EXIT.failed);
  } else throw error;
}

/** A refusal of the operating system or of the database, which a person can read: no stack is needed. */
function isFromSystem(error: unknown): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return "syscall" in error || error.code === "ERR_SQLITE_ERROR";
}
