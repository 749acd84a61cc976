import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRng } from "#kernel/rng.ts";
import { type LoadReport, takeLoadReport } from "#proxy/balance/load_report.ts";

const FIELD = "endpoint-load-metrics";

function read(value: string, name = FIELD): LoadReport | "refused" | undefined {
  return takeLoadReport([name, value], false);
}

/** Fields of a message: number and double, or number and bytes. */
function message(...fields: readonly (readonly [number, number | Buffer])[]): Buffer {
  return Buffer.concat(
    fields.map(([number, value]) => {
      if (typeof value !== "number") {
        return Buffer.concat([Buffer.from([number * 8 + 2, value.length]), value]);
      }
      const bytes = Buffer.alloc(9);
      bytes[0] = number * 8 + 1;
      bytes.writeDoubleLE(value, 1);
      return bytes;
    }),
  );
}

const named = (key: string, value: number): Buffer => message([1, Buffer.from(key)], [2, value]);

const REPORT = { utilization: 0.3, rps: 80, eps: 2, stalenessMs: 450 };

describe("a load report", () => {
  it("is read as TEXT, JSON and protobuf alike", () => {
    const binary = message([1, 0.3], [6, 80], [7, 2], [8, named("staleness_ms", 450)]);
    const json = { rps_fractional: 80, eps: 2, named_metrics: { staleness_ms: 450, other: 1 } };
    for (const [value, name] of [
      ["TEXT cpu_utilization=0.3,rps_fractional=80,eps=2,named_metrics.staleness_ms=450", FIELD],
      [
        "TEXT cpu_utilization = 0.3, rps_fractional=8e1 ,eps=2,named_metrics.staleness_ms=450",
        FIELD,
      ],
      [`JSON ${JSON.stringify({ cpu_utilization: 0.3, ...json })}`, FIELD],
      [
        'JSON {"cpuUtilization":0.3,"rpsFractional":80,"eps":2,"namedMetrics":{"staleness_ms":450}}',
        FIELD,
      ],
      [`BIN ${binary.toString("base64")}`, FIELD],
      [binary.toString("base64"), `${FIELD}-bin`],
      [binary.toString("base64").replaceAll("=", ""), `${FIELD}-bin`],
    ] as const) {
      assert.deepEqual(read(value, name), REPORT, value);
    }
  });

  it("speaks by what the application says before its CPUs, and may leave out the rest", () => {
    const report = read("TEXT cpu_utilization=0.3,application_utilization=0.9");
    assert.deepEqual(report, { utilization: 0.9, rps: 0, eps: 0, stalenessMs: undefined });
    assert.deepEqual(
      read(message([9, 1.5], [1, 0.2], [2, 0.7]).toString("base64"), `${FIELD}-bin`),
      { utilization: 1.5, rps: 0, eps: 0, stalenessMs: undefined },
    );
  });

  it("passes over fields of protobuf that are not known", () => {
    const other = Buffer.concat([Buffer.from([0x18, 0xff, 0x01]), message([4, named("a", 1)])]);
    const all = Buffer.concat([other, message([1, 0.5])]);
    assert.equal((read(`BIN ${all.toString("base64")}`) as LoadReport).utilization, 0.5);
  });

  for (const value of [
    "",
    "TEXT",
    "TEXT ",
    "TEXT cpu_utilization",
    "TEXT cpu_utilization=",
    "TEXT =1",
    "TEXT cpu_utilization=-0.1",
    "TEXT cpu_utilization=NaN",
    "TEXT cpu_utilization=Infinity",
    "TEXT cpu_utilization=0x10",
    "TEXT cpu_utilization=1e400",
    "TEXT cpu_utilization=0.1,eps=-1",
    "text cpu_utilization=0.1",
    "JSON",
    "JSON []",
    "JSON null",
    'JSON "a"',
    'JSON {"cpu_utilization":"0.1"}',
    'JSON {"cpu_utilization":-1}',
    'JSON {"named_metrics":{"a":{}}}',
    'JSON {"named_metrics":{"a":null}}',
    `JSON ${"[".repeat(4_000)}`,
    `TEXT ${"a=1,".repeat(2_000)}a=1`,
    "BIN !",
    "BIN CQ==",
    "BIN QgE=",
    `BIN ${message([1, Number.NaN]).toString("base64")}`,
    `BIN ${message([6, -1]).toString("base64")}`,
    "PROTO AAAA",
  ]) {
    it(`is refused whole: ${value.slice(0, 40)}`, () => assert.equal(read(value), "refused"));
  }

  it("is refused where there are two, and taken out all the same", () => {
    const fields = [FIELD, "TEXT eps=1", "date", "x", `${FIELD}-bin`, ""];
    assert.equal(takeLoadReport(fields, false), "refused");
    assert.deepEqual(fields, ["date", "x"]);
  });

  it("is taken out, unless it is to be passed on; other fields stay", () => {
    const fields = ["a", "1", FIELD, "TEXT eps=1", "b", "2"];
    takeLoadReport(fields, true);
    assert.equal(fields.length, 6);
    takeLoadReport(fields, false);
    assert.deepEqual(fields, ["a", "1", "b", "2"]);
    assert.equal(takeLoadReport(fields, false), undefined);
    assert.equal(takeLoadReport(["endpoint-load-metricz", "TEXT eps=1"], false), undefined);
  });

  it("may be any bytes: it is refused or has numbers in it, and nothing is thrown", () => {
    const rng = seededRng(77);
    for (let round = 0; round < 20_000; round++) {
      const bytes = message([1, 0.3], [8, named("staleness_ms", 4)], [9, 0.5]);
      for (let i = rng.below(4); i >= 0; i--) bytes[rng.below(bytes.length)] = rng.below(256);
      const cut = bytes.subarray(0, rng.below(bytes.length + 1));
      const report = read(`BIN ${cut.toString("base64")}`);
      assert.ok(report === "refused" || Number.isFinite(report!.utilization));
    }
  });
});
