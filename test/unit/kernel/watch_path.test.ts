import assert from "node:assert/strict";
import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { sleep, systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { watchPath } from "#kernel/watch_path.ts";
import { until } from "#test/kit/processes.ts";

describe("a watched path", () => {
  let dir: string;
  let changes: number;
  const watches: Array<{ close(): void }> = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "espalier-watch-"));
    changes = 0;
  });
  afterEach(async () => {
    for (const watch of watches.splice(0)) watch.close();
    await rm(dir, { recursive: true });
  });

  function watched(path: string, onChange = (): number => changes++): void {
    const log = new MemoryLogger();
    watches.push(watchPath(path, { clock: systemClock, log, onChange }));
  }

  it("is one file: what is written beside it is nothing to it", async () => {
    const path = join(dir, "edge.yaml");
    await writeFile(path, "1");
    const neighbour = join(dir, "access.log");
    await writeFile(neighbour, "");
    let lines = 0;
    watched(path);
    watched(neighbour, () => lines++);
    for (let i = 0; i < 20; i++) await appendFile(neighbour, "line\n");
    await until("the neighbour has come to rest", () => lines > 0);
    assert.equal(changes, 0);
    await writeFile(`${path}.new`, "2");
    await rename(`${path}.new`, path);
    await until("it is seen", () => changes === 1);
  });

  it("is a file of a mounted ConfigMap, which is swapped by a link beside it", async () => {
    for (const version of ["1", "2"]) {
      await mkdir(join(dir, version));
      await writeFile(join(dir, version, "edge.yaml"), version);
    }
    await symlink("1", join(dir, "..data"));
    await symlink(join("..data", "edge.yaml"), join(dir, "edge.yaml"));
    watched(join(dir, "edge.yaml"));
    await symlink("2", join(dir, "..data_tmp"));
    await rename(join(dir, "..data_tmp"), join(dir, "..data"));
    await until("it is seen", () => changes === 1);
  });

  it("is a directory that never comes to rest: a change in it is seen all the same", async () => {
    watched(dir);
    let over = false;
    const writing = (async () => {
      while (!over) {
        await appendFile(join(dir, "access.log"), "line\n");
        await sleep(systemClock, 20);
      }
    })();
    try {
      await until("it is seen", () => changes > 1);
    } finally {
      over = true;
      await writing;
    }
  });
});
