import type { Command } from "commander";
export function registerCa(_program: Command): void {}
