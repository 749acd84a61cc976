import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { BUS_PAYLOAD_MAX, type BusMessage, type BusRefusal } from "#discovery/bus/bus.ts";
import {
  DOWN_ALL,
  downOf,
  factSubject,
  needOrdersSubject,
  orderSubject,
  UP_ALL,
  viewSubject,
} from "#discovery/sync/subjects.ts";
import { type BusFixture, memoryFixture, natsFixture, type OpenFixture } from "#test/kit/buses.ts";
import { until } from "#test/kit/processes.ts";

const text = (message: BusMessage): string => Buffer.from(message.data).toString();
const bytes = (said: string): Uint8Array => Buffer.from(said);

function conformance(name: string, open: OpenFixture): void {
  describe(`bus: ${name}`, { timeout: 120_000 }, () => {
    let fixture: BusFixture;

    before(async () => {
      fixture = await open(["store-1", "store-2"]);
    });
    after(() => fixture?.close());

    /** Hears `subject` at `bus` until closed; ready once the broker knows of it. */
    async function hear(bus: BusFixture["parent"], subject: string) {
      const heard: BusMessage[] = [];
      const subscription = bus.subscribe(subject, (message) => heard.push(message));
      await bus.flush();
      return { heard, close: () => subscription.close() };
    }

    /** Resolves when what was published before has passed through the broker. */
    async function passed(
      from: BusFixture["parent"],
      subject: string,
      ear: { heard: BusMessage[] },
    ) {
      const mark = `mark ${Math.random()}`;
      from.publish(subject, bytes(mark));
      await until("the mark is heard", () => ear.heard.some((message) => text(message) === mark));
    }

    it("keeps the order of what one child says, over all its subjects", async () => {
      const { parent } = fixture;
      const ear = await hear(parent, UP_ALL);
      const child = fixture.child("store-1");
      for (let i = 0; i < 500; i++) {
        child.publish(factSubject("store-1", i % 2 === 0 ? "delta" : "hb"), bytes(String(i)));
      }
      await until("all are heard", () => ear.heard.length === 500);
      assert.deepEqual(
        ear.heard.map(text),
        Array.from({ length: 500 }, (_, i) => String(i)),
      );
      assert.equal(ear.heard[0]!.subject, "mesh.v1.up.store-1.delta");
      ear.close();
    });

    it("takes a child's messages only on the child's own subjects", async () => {
      const ear = await hear(fixture.parent, UP_ALL);
      const refusals: BusRefusal[] = [];
      const child = fixture.child("store-1");
      const watch = child.onRefusal((refusal) => refusals.push(refusal));
      const forged = factSubject("store-2", "delta");
      child.publish(forged, bytes("forged"));
      child.publish(viewSubject("store-2", "snap"), bytes("forged"));
      await passed(child, factSubject("store-1", "hb"), ear);
      assert.ok(!ear.heard.some((message) => text(message) === "forged"));
      await until("the refusal is told", () =>
        refusals.some(({ kind, subject }) => kind === "publish_denied" && subject === forged),
      );
      watch.close();
      ear.close();
    });

    it("lets a child hear nothing of its siblings", async () => {
      const child = fixture.child("store-1");
      const refusals: BusRefusal[] = [];
      const watch = child.onRefusal((refusal) => refusals.push(refusal));
      const own = await hear(child, downOf("store-1"));
      const forbidden = [downOf("store-2"), DOWN_ALL, UP_ALL, "mesh.v1.up.store-2.>", ">"];
      const ears = await Promise.all(forbidden.map((subject) => hear(child, subject)));
      fixture.parent.publish(viewSubject("store-2", "snap"), bytes("for store-2"));
      fixture.child("store-2").publish(factSubject("store-2", "hb"), bytes("of store-2"));
      await passed(fixture.parent, viewSubject("store-1", "hb"), own);
      for (const ear of ears) assert.deepEqual(ear.heard.map(text), []);
      await until("all refusals are told", () =>
        forbidden.every((subject) =>
          refusals.some((r) => r.kind === "subscribe_denied" && r.subject === subject),
        ),
      );
      for (const ear of [own, ...ears]) ear.close();
      watch.close();
    });

    it("lets a child hear its orders and ask for them, and say none", async () => {
      const { parent } = fixture;
      const child = fixture.child("store-1");
      const [up, own] = [await hear(parent, UP_ALL), await hear(child, downOf("store-1"))];
      const refusals: BusRefusal[] = [];
      const watch = child.onRefusal((refusal) => refusals.push(refusal));
      const forged = ["store-1", "store-2"].map((label) => orderSubject(label, "snap"));
      for (const subject of forged) child.publish(subject, bytes("forged"));
      child.publish(needOrdersSubject("store-1"), bytes("need"));
      await until("it is asked for", () => up.heard.length === 1);
      await until("the refusals are told", () =>
        forged.every((subject) =>
          refusals.some((r) => r.kind === "publish_denied" && r.subject === subject),
        ),
      );
      parent.publish(orderSubject("store-1", "delta"), bytes("order"));
      await until("it is heard", () => own.heard.length === 1);
      assert.deepEqual([...up.heard, ...own.heard].map(text), ["need", "order"]);
      for (const ear of [up, own]) ear.close();
      watch.close();
    });

    it("gives nobody his own message back", async () => {
      const { parent } = fixture;
      const up = await hear(parent, UP_ALL);
      const ear = await hear(fixture.child("store-1"), downOf("store-1"));
      parent.publish(viewSubject("store-1", "hb"), bytes("down"));
      await until("it is heard below", () => ear.heard.length === 1);
      assert.equal(up.heard.length, 0);
      up.close();
      ear.close();
    });

    it("drops a message that is too large and goes on", async () => {
      const ear = await hear(fixture.parent, UP_ALL);
      const child = fixture.child("store-1");
      child.publish(factSubject("store-1", "snap"), new Uint8Array(BUS_PAYLOAD_MAX + 1));
      await passed(child, factSubject("store-1", "hb"), ear);
      assert.equal(ear.heard.length, 1);
      ear.close();
    });

    it("notices a partition, loses what is said in it, and takes up its subscriptions after it", async () => {
      const child = fixture.child("store-2");
      const ear = await hear(child, downOf("store-2"));
      const up = await hear(fixture.parent, UP_ALL);
      const statuses: string[] = [];
      const watch = child.onStatus((status) => statuses.push(status));
      fixture.cut("store-2", true);
      await until("the cut is noticed", () => child.status() === "down");
      assert.equal(await child.flush(), false);
      child.publish(factSubject("store-2", "hb"), bytes("into the void"));
      fixture.cut("store-2", false);
      await until("it is up again", () => child.status() === "up");
      // Its subscriptions go first; a message that overtakes them is lost, as at most once means.
      await until("the broker knows it again", () => child.flush());
      await passed(fixture.parent, viewSubject("store-2", "hb"), ear);
      await passed(child, factSubject("store-2", "hb"), up);
      assert.ok(!up.heard.some((message) => text(message) === "into the void"));
      assert.deepEqual(statuses, ["down", "up"]);
      watch.close();
      ear.close();
      up.close();
    });

    it("delivers nothing to a closed subscription", async () => {
      const child = fixture.child("store-1");
      const closed = await hear(child, downOf("store-1"));
      closed.close();
      const open = await hear(child, downOf("store-1"));
      await passed(fixture.parent, viewSubject("store-1", "hb"), open);
      assert.equal(closed.heard.length, 0);
      open.close();
    });
  });
}

conformance("in memory", memoryFixture);
conformance("nats-server", natsFixture);
