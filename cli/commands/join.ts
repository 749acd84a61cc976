import type { Command } from "commander";
export function registerJoin(_program: Command): void {}
