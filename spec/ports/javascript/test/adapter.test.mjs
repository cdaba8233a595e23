// The adapter: what it answers, and that it goes on after what it cannot answer.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { adapter } from "../adapter.mjs";
import { FAULTS } from "../faults.mjs";
import { EVENTS, Transition } from "../pool.mjs";

const ADAPTER = fileURLToPath(new URL("../adapter.mjs", import.meta.url));
const acquire = { event: "Acquire", now: 0, ticket: 1, wait: true, owner: null };

test("says what it knows", () => {
  const { id, protocol, spec, events } = adapter()({ id: 7, command: "hello" });
  assert.deepEqual([id, protocol, spec], [7, 1, "1.0"]);
  assert.deepEqual(events, EVENTS);
});

test("every event has a handler", () => {
  for (const name of EVENTS) assert.equal(typeof Transition.prototype[name], "function", name);
});

test("resets, steps, and keeps its state when it cannot answer", () => {
  const answer = adapter();
  assert.match(answer({ id: 1, command: "event", event: acquire }).error, /before reset/);
  assert.equal(answer({ id: 2, command: "reset", limits: { max_size: 1 } }).state.issued, 0);
  assert.deepEqual(answer({ id: 3, command: "event", event: acquire }).effects, [
    { effect: "Open", ticket: 1 },
  ]);
  assert.match(answer({ id: 4, command: "event", event: { event: "Nonsense" } }).error, /Nonsense/);
  assert.match(answer({ id: 5, command: "toString" }).error, /no such command/);
  assert.equal(answer({ id: 6, command: "reset", limits: { max_size: 0 } }).invalid.field, "max_size");
  const repeated = answer({ id: 7, command: "event", event: acquire });
  assert.equal(repeated.effects[0].effect, "Ignored");
  assert.equal(repeated.state.issued, 1);
});

test("ends after stop, with status 0", () => {
  const input = '{"id":1,"command":"hello"}\n{"id":2,"command":"stop"}\n';
  const { status, stdout } = spawnSync(process.execPath, [ADAPTER], { input, encoding: "utf8" });
  assert.equal(status, 0);
  assert.equal(stdout.trim().split("\n").length, 2);
});

test("knows at least six faults, and no others", () => {
  assert.ok(Object.keys(FAULTS).length >= 6);
  const { status, stderr } = spawnSync(process.execPath, [ADAPTER, "--fault", "none"], { encoding: "utf8" });
  assert.notEqual(status, 0);
  assert.match(stderr, /no such fault: none/);
});
