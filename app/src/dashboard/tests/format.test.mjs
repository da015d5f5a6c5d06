// Numbers, spans and moments: what is missing is a dash, whatever came.
process.env.TZ = "UTC";
import assert from "node:assert/strict";
import { test } from "node:test";
import { DASH, bytes, clock, count, counted, fraction, latency, percent, rate, readSpan, span, words } from "../model/format.mjs";

const NOTHING = [null, undefined, NaN, Infinity, -Infinity, "12", {}, []];

test("what is no number is a dash and never NaN", () => {
  for (const format of [bytes, count, percent, fraction, latency, span]) {
    for (const value of NOTHING) assert.equal(format(value), DASH, `${format.name}(${String(value)})`);
  }
  assert.equal(rate(1, 0), DASH);
  assert.equal(rate(undefined, 4), DASH);
  assert.equal(rate(1, NaN), DASH);
});

test("numbers have separators, and huge ones powers of ten", () => {
  assert.equal(count(0), "0");
  assert.equal(count(1234567), "1,234,567");
  assert.equal(count(18446744073709551615), "1.84 × 10^19");
  assert.equal(counted(1, "call"), "1 call");
  assert.equal(counted(2, "call"), "2 calls");
  assert.equal(counted(null, "call"), `${DASH} calls`);
});

test("shares read as the server writes them", () => {
  assert.equal(percent(5), "5 %");
  assert.equal(percent(12.5), "12.5 %");
  assert.equal(percent(0.12), "0.12 %");
  assert.equal(percent(0), "0 %");
  assert.equal(percent(99.99), "100.0 %");
  assert.equal(rate(1, 8), "12.5 %");
});

test("latencies and spans carry their unit", () => {
  assert.equal(latency(1.5), "1.5 ms");
  assert.equal(latency(212.4), "212 ms");
  assert.equal(latency(2300), "2.30 s");
  assert.equal(latency(25_000), "25.0 s");
  assert.equal(latency(90_000), "1 m 30 s");
  assert.equal(latency(-1), DASH);
  assert.equal(span(2500), "2.5 s");
  assert.equal(bytes(1_468_006), "1.4 MiB");
  assert.equal(bytes(3 * 2 ** 30), "3.0 GiB");
  assert.equal(span(5_400_000), "1 h 30 m");
  assert.equal(span(3_600_000), "1 h");
  assert.equal(span(86_400_000 * 3 + 1000), "3 d");
});

test("the server's spans are read, and anything else is not", () => {
  assert.equal(readSpan("1h 30m"), 5_400_000);
  assert.equal(readSpan("12s 2ms"), 12_002);
  assert.equal(readSpan("250ms"), 250);
  assert.equal(readSpan("0s"), 0);
  assert.equal(readSpan("1d"), 86_400_000);
  assert.equal(readSpan("500µs"), 0.5);
  for (const bad of ["", "soon", "1x", "5", "1s soon", "<b>1s</b>", null, 12, {}]) {
    assert.equal(readSpan(bad), null, String(bad));
  }
});

test("a moment of another day shows its date", () => {
  const now = Date.parse("2026-01-02T12:00:00Z");
  assert.equal(clock("2026-01-02T03:04:05.123456789Z", now), "03:04:05");
  assert.equal(clock("2026-01-01T23:04:05Z", now), "2026-01-01 23:04:05");
  for (const bad of ["", "yesterday", null, 17]) assert.equal(clock(bad, now), DASH);
});

test("words come without underscores", () => {
  assert.equal(words("rolled_back"), "rolled back");
  assert.equal(words(undefined), DASH);
});
