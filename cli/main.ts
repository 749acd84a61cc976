#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { registerCa } from "#cli/commands/ca.ts";
import { registerControl } from "#cli/commands/control.ts";
import { registerDemo } from "#cli/commands/demo.ts";
import { registerExplain } from "#cli/commands/explain.ts";
import { registerJoin } from "#cli/commands/join.ts";
import { registerProxy } from "#cli/commands/proxy.ts";
import { registerToken } from "#cli/commands/token.ts";
import { registerUp } from "#cli/commands/up.ts";
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

registerUp(program);
registerProxy(program);
registerControl(program);
registerCa(program);
registerToken(program);
registerJoin(program);
registerExplain(program);
registerDemo(program);
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
