import { request } from "node:http";
import { fail } from "#cli/exit.ts";
import type { HostPort } from "#control/config/scalars.ts";

const TIMEOUT_MS = 10_000;

/** Asks an admin port and reads the JSON of its answer. Rejects with a CommandError that says what went wrong. */
export function askAdmin<T>(
  { address: host, port }: HostPort,
  method: "GET" | "POST",
  path: string,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, method, path, timeout: TIMEOUT_MS });
    asked.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => {
        if (response.statusCode === 200) resolve(JSON.parse(body) as T);
        else reject(fail(body.trim()));
      });
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", (error) => reject(fail(`${host}:${port}: ${error.message}`)));
    asked.end();
  });
}
