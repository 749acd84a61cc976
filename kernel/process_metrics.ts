import { readdirSync, readFileSync } from "node:fs";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { cpuUsage, memoryUsage, versions } from "node:process";
import type { Metrics } from "#kernel/metrics.ts";

/** How often the event loop is looked at: what stands longer than this is seen. */
const LAG_RESOLUTION_MS = 50;

/** Which program this is. */
export function registerProgram(metrics: Metrics, version: string): void {
  const labels = ["version", "node"];
  metrics.gauge(
    { name: "espalier_build_info", help: "1; what runs here is in the labels.", labels },
    () => [{ labels: [version, versions.node], value: 1 }],
  );
}

/**
 * What a Node process costs, by the names that Prometheus' client libraries have in common.
 * @param name tells processes of one program apart: `main`, `worker-0`.
 */
export function registerProcess(metrics: Metrics, name: string): void {
  const labels = ["process"];
  const own = [name];
  const gauge = (metric: string, help: string, read: () => number | undefined): void =>
    metrics.gauge({ name: metric, help, labels }, () => {
      const value = read();
      return value === undefined ? [] : [{ labels: own, value }];
    });
  metrics.counter(
    { name: "process_cpu_seconds_total", help: "CPU time, user and system.", labels },
    () => {
      const { user, system } = cpuUsage();
      return [{ labels: own, value: (user + system) / 1e6 }];
    },
  );
  gauge("process_start_time_seconds", "Start of the process, Unix time.", () =>
    Math.round(performance.timeOrigin / 1_000),
  );
  gauge("process_resident_memory_bytes", "Memory that is in RAM.", () => memoryUsage().rss);
  gauge("process_open_fds", "Open file descriptors (Linux).", openFiles);
  gauge("process_max_fds", "Most file descriptors that may be open (Linux).", openFilesMax);
  gauge(
    "nodejs_heap_size_used_bytes",
    "Heap of JavaScript that is in use.",
    () => memoryUsage().heapUsed,
  );
  gauge(
    "nodejs_external_memory_bytes",
    "Memory of buffers outside of the heap.",
    () => memoryUsage().external,
  );
  registerEventLoop(gauge);
}

function registerEventLoop(
  gauge: (metric: string, help: string, read: () => number | undefined) => void,
): void {
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  gauge(
    "nodejs_eventloop_lag_p99_seconds",
    "What 99 % of turns waited at most beyond their time, since it was asked last.",
    () => {
      const p99 = lag.count === 0 ? 0 : lag.percentile(99) / 1e9 - LAG_RESOLUTION_MS / 1e3;
      lag.reset();
      return Math.max(0, p99);
    },
  );
  let before = performance.eventLoopUtilization();
  gauge(
    "nodejs_eventloop_utilization_ratio",
    "Share of time that the event loop was busy since it was asked last, 0 to 1.",
    () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, before);
      before = now;
      return utilization;
    },
  );
}

function openFiles(): number | undefined {
  try {
    // The directory itself is open while it is read.
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return undefined;
  }
}

function openFilesMax(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return found === null ? undefined : Number(found[1]);
  } catch {
    return undefined;
  }
}
