// The vectors, replayed without the conformance runner: ../../vectors/README.md is enough for that.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { InvalidLimits, makeLimits } from "../limits.mjs";
import { initial, step, wakeAt } from "../pool.mjs";

const DIRECTORY = new URL("../../../vectors/", import.meta.url);

for (const name of readdirSync(DIRECTORY).filter((name) => name.endsWith(".jsonl")).sort()) {
  const lines = readFileSync(new URL(name, DIRECTORY), "utf8").trim().split("\n");
  const [head, ...cases] = lines.map((line) => JSON.parse(line));
  test(`${name}: ${head.about}`, () => {
    assert.equal(head.format, 1);
    assert.equal(head.cases, cases.length);
    for (const one of cases) (one.steps ? replay : judge)(one);
  });
}

// A case of limits.jsonl.
function judge({ case: name, limits, valid, invalid }) {
  if (valid) assert.deepEqual(makeLimits(limits), valid, name);
  else
    assert.throws(
      () => makeLimits(limits),
      (error) => error instanceof InvalidLimits && invalid.includes(error.field),
      name,
    );
}

// A case of any other file.
function replay({ case: name, limits, start, steps }) {
  let state = initial(makeLimits(limits));
  let wake_at = start.wake_at;
  assert.equal(digest(state), start.digest, name);
  assert.equal(wakeAt(state), wake_at, name);
  ignores(state, start, name);
  for (const [index, wanted] of steps.entries()) {
    const where = `${name}, step ${index + 1}, rules ${wanted.rules}`;
    const after = step(deepFreeze(state), withLimits(wanted.event));
    const known = after.effects.map(withoutWhy);
    assert.deepEqual(known, wanted.effects, where);
    assert.deepEqual(after.state, changed(state, wanted.change), where);
    assert.equal(digest(after.state), wanted.digest, where);
    state = after.state;
    if (Object.hasOwn(wanted, "wake_at")) wake_at = wanted.wake_at;
    assert.equal(wakeAt(state), wake_at, where);
    ignores(state, wanted, where);
  }
}

function ignores(state, { ignored = {} }, where) {
  for (const [rules, events] of Object.entries(ignored))
    for (const event of events) {
      const after = step(state, event);
      assert.deepEqual(after.effects.map(withoutWhy), [{ effect: "Ignored" }], `${where}: ${rules}`);
      assert.equal(after.state, state);
    }
}

function withLimits(event) {
  return event.limits ? { ...event, limits: makeLimits(event.limits) } : event;
}

function withoutWhy({ why, ...effect }) {
  return effect;
}

// What "change" means.
function changed(state, change) {
  const after = { ...state, ...change };
  for (const name of ["limits", "counters"]) after[name] = { ...state[name], ...change[name] };
  for (const name of ["idle", "in_use"]) {
    const byKey = new Map(state[name].map((one) => [one.key, one]));
    for (const [key, one] of Object.entries(change[name] ?? {})) byKey.set(Number(key), one);
    after[name] = [...byKey.values()].filter((one) => one !== null);
  }
  after.idle.sort((a, b) => a.order - b.order || a.seq - b.seq || a.key - b.key);
  after.in_use.sort((a, b) => a.key - b.key);
  return after;
}

function digest(state) {
  return createHash("sha256").update(text(state)).digest("hex").slice(0, 16);
}

// ../../PROTOCOL.md, section 7
function text(value) {
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${text(value[name])}`).join(",")}}`;
}

function deepFreeze(value) {
  if (value !== null && typeof value === "object") Object.values(Object.freeze(value)).forEach(deepFreeze);
  return value;
}
