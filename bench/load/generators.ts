import { execFile } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { promisify } from "node:util";
import type { CallKind, GrpcResult } from "#bench/load/grpc_load.ts";

const execute = promisify(execFile);
/** A generator that ends so long after its time hangs, seconds. */
const LATE = 20;
const SCALE = { us: 0.001, ms: 1, s: 1_000 };

/** Runs a generator on one CPU. Returns what it says. */
async function run(cpu: number, seconds: number, ...command: readonly string[]): Promise<string> {
  const args = ["-c", String(cpu), ...command];
  const limit = { timeout: (seconds + LATE) * 1_000, killSignal: "SIGKILL" } as const;
  return (await execute("taskset", args, limit)).stdout;
}

/** What a generator has measured. */
export interface LoadResult {
  readonly perSecond: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** How a generator is told to load. */
export interface Load {
  readonly cpu: number;
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  /** Bytes of each answer's body: fewer are an error. */
  readonly answerBytes: number;
}

/** What h2load needs besides. */
export interface Http2Load extends Load {
  /** On each connection at a time. */
  readonly streams: number;
  /** Options of its own: fields, a body, a file of targets. */
  readonly options: readonly string[];
  /** Where it writes down each request. */
  readonly log: string;
}

/** Steady load over HTTP/2; an answer that is no 2xx or has another length is an error. */
export async function h2load(load: Http2Load): Promise<LoadResult> {
  const { cpu, url, seconds, connections, streams, options, log, answerBytes } = load;
  const shape = ["-c", String(connections), "-m", String(streams), "-D", String(seconds)];
  // It would append to it.
  rmSync(log, { force: true });
  const where = options.includes("-i") ? `--base-uri=${url}` : url;
  const stdout = await run(
    cpu,
    seconds,
    ...["h2load", ...shape, `--log-file=${log}`, ...options, where],
  );
  const numberOf = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
  // Its statuses are counted when a head comes, and the answer may be cut off.
  const good = numberOf(/(\d+) succeeded/);
  const failed = numberOf(/(\d+) failed/) + numberOf(/(\d+) errored/);
  const others = /2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(stdout);
  if (others === null || others.slice(1).some((count) => count !== "0")) {
    throw new Error(`${url}: ${others?.[0] ?? stdout}`);
  }
  if (failed !== 0) throw new Error(`${url}: ${failed} failed`);
  // The end of the time cuts some off.
  const running = connections * streams;
  const data = numberOf(/\((\d+)\) data/);
  if (data < good * answerBytes || data > (good + running) * answerBytes) {
    throw new Error(`${url}: ${data} bytes of body in ${good} answers of ${answerBytes}`);
  }
  return { requests: good, perSecond: good / seconds, ...percentiles(log) };
}

/** Lines of h2load's log: when it began, status, µs. */
function percentiles(log: string): Pick<LoadResult, "p50Ms" | "p99Ms"> {
  const text = readFileSync(log, "latin1");
  const micros = text.split("\n").flatMap((line) => {
    const [, status, time] = line.split("\t");
    return status === "200" ? [Number(time)] : [];
  });
  const times = Float64Array.from(micros).sort();
  const at = (share: number): number => (times[Math.floor(times.length * share)] ?? 0) / 1_000;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** What wrk needs besides. @param script path of its Lua. */
export interface Http1Load extends Load {
  readonly script: string | undefined;
}

/** Steady load over HTTP/1.1; answers that are no 2xx or 3xx, short ones, and broken connections are an error. */
export async function wrk(load: Http1Load): Promise<LoadResult> {
  const { cpu, url, seconds, connections, script, answerBytes } = load;
  const shape = ["-t1", `-c${connections}`, `-d${seconds}`, "--latency", "--timeout", "10s"];
  const scripted = script === undefined ? [] : ["-s", script];
  const stdout = await run(cpu, seconds, "wrk", ...shape, ...scripted, url);
  const bad =
    /Non-2xx or 3xx responses: (\d+)|Socket errors: (?!.*read (\d+), write 0, timeout 0)(.*)/.exec(
      stdout,
    );
  if (bad !== null) throw new Error(`${url}: ${bad[0]}`);
  const [, count, read, unit] = /(\d+) requests in .*?, ([\d.]+)(B|KB|MB|GB) read/.exec(stdout)!;
  const bytes = Number(read) * 1_024 ** ["B", "KB", "MB", "GB"].indexOf(unit!);
  const requests = Number(count);
  // It rounds to two places.
  if (bytes < requests * answerBytes * 0.99) {
    throw new Error(`${url}: ${bytes} bytes in ${requests} answers of ${answerBytes}`);
  }
  const percentile = (share: number): number => {
    const [, value, scale] = new RegExp(`${share}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout)!;
    return Number(value) * SCALE[scale as keyof typeof SCALE];
  };
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]);
  return { perSecond, requests, p50Ms: percentile(50), p99Ms: percentile(99) };
}

/** How the gRPC load is told. */
export interface GrpcLoad {
  readonly cpu: number;
  readonly port: number;
  readonly seconds: number;
  readonly connections: number;
  readonly streams: number;
  readonly calls: CallKind;
}

/** Steady gRPC load. Counted are messages that come in answer; a call that is not whole is an error. */
export async function grpcLoad(load: GrpcLoad): Promise<LoadResult> {
  const { cpu, port, seconds, connections, streams, calls } = load;
  const program = new URL(import.meta.resolve("#bench/load/grpc_load.ts")).pathname;
  const args = [port, seconds, connections, streams, calls].map(String);
  const stdout = await run(cpu, seconds, process.execPath, program, ...args);
  const result = JSON.parse(stdout) as GrpcResult;
  const { messages, failure, p50Ms, p99Ms } = result;
  if (failure !== undefined) throw new Error(`gRPC on ${port}: ${failure}`);
  return { requests: messages, perSecond: messages / seconds, p50Ms, p99Ms };
}
