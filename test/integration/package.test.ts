import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { get, TestOrigin } from "#test/kit/http.ts";
import { ROOT } from "#test/kit/processes.ts";
import { staticYaml } from "#test/kit/static_yaml.ts";

const run = promisify(execFile);

describe("the npm package", { timeout: 120_000 }, () => {
  let dir: string;
  let main: string;
  const origin = new TestOrigin("packed");

  before(async () => {
    await origin.start();
    dir = await mkdtemp(join(tmpdir(), "espalier-package-"));
    const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", dir], {
      cwd: ROOT,
    });
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf("[")));
    const modules = join(dir, "node_modules");
    await mkdir(join(modules, "espalier"), { recursive: true });
    await run("tar", ["xzf", join(dir, filename), "-C", join(modules, "espalier"), "--strip", "1"]);
    // Its dependencies are the clone's: this asks what the package holds, not what a registry does.
    for (const name of await readdir(join(ROOT, "node_modules"))) {
      if (!name.startsWith("."))
        await symlink(join(ROOT, "node_modules", name), join(modules, name));
    }
    main = join(modules, "espalier", "dist", "cli", "main.js");
  });
  after(async () => {
    await origin.stop();
    await rm(dir, { recursive: true, force: true });
    await rm(join(ROOT, "dist"), { recursive: true, force: true });
  });

  it("runs", async () => {
    const { stdout } = await run(process.execPath, [main, "--help"]);
    assert.match(stdout, /Usage: espalier/);
  });

  it("serves, with workers", async () => {
    const file = join(dir, "edge.yaml");
    await writeFile(file, staticYaml(0, origin.port));
    const args = [main, "proxy", "-f", file, "--workers", "2", "--admin", "127.0.0.1:0"];
    const proxy = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const port = await new Promise<number>((resolve) => {
      let out = "";
      proxy.stdout.on("data", (chunk: Buffer) => {
        out += chunk.toString();
        const ready = /"listener":"default\/edge\/http".*"port":(\d+)/.exec(out);
        if (ready !== null) resolve(Number(ready[1]));
      });
    });
    assert.equal((await get(port)).body, "packed");
    proxy.kill("SIGTERM");
    await new Promise((resolve) => proxy.once("exit", resolve));
  });
});
