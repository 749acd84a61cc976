import { isIP } from "node:net";
import { InvalidArgumentError, Option } from "commander";
import { duration, type HostPort, splitHostPort } from "#control/config/scalars.ts";

/** Parses `HOST:PORT` of an option; a port of 0 lets the system choose. */
export function hostPortOption(text: string): HostPort {
  const parsed = splitHostPort(text);
  const { address, port } = parsed;
  const namesHost = isIP(address) !== 0 || /^[A-Za-z0-9.-]+$/.test(address);
  if (!text.includes(":") || !namesHost || !(port >= 0 && port <= 65_535)) {
    throw new InvalidArgumentError("must be HOST:PORT");
  }
  return parsed;
}

/** Parses a whole number of an option. */
export function countOption(least: number, most: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (Number.isInteger(count) && count >= least && count <= most) return count;
    throw new InvalidArgumentError(`must be a whole number from ${least} to ${most}`);
  };
}

/** Parses a duration of an option, `800ms` or `1m30s`, as ms. */
export function durationOption(text: string): number {
  const parsed = duration.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError("must be a duration such as 800ms or 5s");
}

/** `--admin`, with the port that all of them have if nothing is said. */
export function adminOption(description: string): Option {
  return new Option("--admin <host:port>", description)
    .argParser(hostPortOption)
    .default({ address: "127.0.0.1", port: 9180 }, "127.0.0.1:9180");
}

/** `--zone`, or else the environment says it: where a machine stands, its platform knows. */
export function zoneOption(): Option {
  return new Option("--zone <name>", "failure domain of the cluster that it stands in").env(
    "ESPALIER_ZONE",
  );
}

/** Takes an option that may be given several times: one value each. */
export function collected(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}
