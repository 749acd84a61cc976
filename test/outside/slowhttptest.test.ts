import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { get } from "#test/kit/http.ts";
import { EspalierProcess } from "#test/kit/processes.ts";
import { run } from "#test/kit/run.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const missing =
  spawnSync("slowhttptest", ["-h"]).error === undefined
    ? false
    : "slowhttptest is not installed: Debian package slowhttptest, or tools/outside-suites.sh";

/** Of each, a hundred at once: heads and bodies that trickle, answers that nobody reads, ranges without end. */
const MODES = {
  "slow heads": ["-H", "-i", "1", "-t", "GET"],
  "slow bodies": ["-B", "-i", "1", "-s", "100000", "-t", "POST"],
  "slow readers": ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3", "-t", "GET"],
  "many ranges": ["-R", "-a", "5", "-b", "3000", "-t", "HEAD"],
} as const;

describe("slowhttptest", { skip: missing, timeout: 120_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "espalier-slow-"));
  const origin = createServer((asked, answer) => {
    asked.resume();
    asked.on("end", () => answer.end(Buffer.alloc(500_000, "x")));
  });
  let proxy: EspalierProcess;
  let port = 0;
  before(async () => {
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const file = join(dir, "edge.yaml");
    writeFileSync(file, staticYaml(0, (origin.address() as AddressInfo).port));
    proxy = new EspalierProcess(["proxy", "-f", file, "--admin", "127.0.0.1:0"]);
    port = (await proxy.ready("default/edge/http")).port;
  });
  after(async () => {
    await proxy.stop("SIGKILL");
    origin.closeAllConnections();
    origin.close();
    rmSync(dir, { recursive: true });
  });

  for (const [what, args] of Object.entries(MODES)) {
    it(`finds the proxy available among ${what}`, async () => {
      const common = [
        "-c",
        "100",
        "-r",
        "100",
        "-l",
        "5",
        "-p",
        "5",
        "-u",
        `http://127.0.0.1:${port}/`,
      ];
      const { out } = await run("slowhttptest", [...args, ...common]);
      // Colours between the words.
      const verdicts = out.match(/service available:[^A-Z]*(?:YES|NO)/g) ?? [];
      assert.match(verdicts.at(-1) ?? out, /YES$/);
      assert.equal((await get(port)).status, 200);
    });
  }
});
