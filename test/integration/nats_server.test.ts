import assert from "node:assert/strict";
import { mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Identity } from "#certs/identity/identity.ts";
import { controlId } from "#certs/identity/spiffe_id.ts";
import { busPermissions } from "#control/authority/table.ts";
import { findNatsServer } from "#discovery/bus/nats_binary.ts";
import { NatsServer } from "#discovery/bus/nats_server.ts";
import { systemClock } from "#kernel/clock.ts";
import { MemoryLogger } from "#kernel/log.ts";
import { type Rng, seededRng } from "#kernel/rng.ts";
import { cluster, must, TestTree } from "#test/kit/mesh.ts";
import { ROOT, until } from "#test/kit/processes.ts";

const CORE = cluster("core");

/** The longest delays. */
const late: Rng = Object.assign(seededRng(1), { next: () => 1 });

describe("a nats-server of ours", { timeout: 60_000 }, () => {
  let root: string;
  let own: Identity;

  before(async () => {
    root = await mkdtemp(join(tmpdir(), "espalier-nats-"));
    own = await new TestTree().identity(controlId(CORE), CORE);
  });
  after(() => rm(root, { recursive: true }));

  async function start(name: string, binary: string, log: MemoryLogger): Promise<NatsServer> {
    const dir = join(root, name);
    const options = { binary, dir, address: "127.0.0.1", port: 0, clock: systemClock, rng: late };
    const users = [{ id: controlId(CORE), permissions: busPermissions("self", "") }];
    return must(await NatsServer.start({ ...options, log }, own, users));
  }

  const ends = (log: MemoryLogger) => log.lines.filter(({ message }) => /^bus ended/.test(message));

  it("is started again until it is up, though it cannot even be run for a while", async () => {
    const binary = join(root, "nats-server");
    await symlink(must(await findNatsServer(ROOT, process.env)), binary);
    const log = new MemoryLogger();
    const server = await start("gone", binary, log);
    const { pid, port } = server;
    await rename(binary, `${binary}.away`);
    process.kill(pid!, "SIGKILL");
    await until("it is tried in vain", () => ends(log).length >= 3);
    assert.match(String(ends(log)[1]!.fields?.["why"]), /ENOENT/);
    await rename(`${binary}.away`, binary);
    await until("it is up again", () => log.lines.at(-1)?.message === "bus is up");
    assert.equal(server.port, port);
    assert.notEqual(server.pid, pid);
    await rename(binary, `${binary}.away`);
    process.kill(server.pid!, "SIGKILL");
    await until("it is down again", () => server.pid === undefined);
    await server.close();
  });

  it("is waited for longer each time if it dies right after it was up", async () => {
    const binary = join(root, "short-lived");
    const ports = '{"nats":["nats://127.0.0.1:4222"]}';
    const script = `#!/bin/sh\necho '${ports}' > "$(dirname "$2")/x.ports"\nsleep 0.1\n`;
    await writeFile(binary, script, { mode: 0o755 });
    const log = new MemoryLogger();
    const server = await start("dying", binary, log);
    await until("it has died often", () => ends(log).length >= 3);
    assert.deepEqual(
      ends(log)
        .slice(0, 3)
        .map(({ fields }) => fields?.["delayMs"]),
      [100, 200, 400],
    );
    assert.ok(log.lines.filter(({ message }) => message === "bus is up").length >= 3);
    await server.close();
  });
});
