// The port, as the conformance runner sees it: one JSON object per line, in and out.
//
//     purepool conform -- node spec/ports/javascript/adapter.mjs [--fault NAME]
//         [--only EVENTS] [--openers OPENERS]
//
// Theory.  ../../PROTOCOL.md, as a function from request to answer, and a loop around it.
// The state of pool.mjs is its own encoding, so there is nothing to translate.  The switches are
// for those who want to see what the runner says: --fault plants a fault (faults.mjs), --only
// and --openers make it a port that knows a few events, say Acquire,Opened,Release.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { plant } from "./faults.mjs";
import { InvalidLimits, makeLimits } from "./limits.mjs";
import { EVENTS, initial, step, wakeAt } from "./pool.mjs";

const PROTOCOL = 1;
const SPEC = "1.0";

// The function from request to answer, with the machine that it talks about.
export function adapter(events = EVENTS, openers = ["caller", "background"]) {
  let state = null;

  const commands = {
    hello: () => ({
      protocol: PROTOCOL,
      spec: SPEC,
      port: "purepool-javascript",
      events,
      openers,
    }),

    reset({ limits }) {
      try {
        state = initial(makeLimits(limits));
      } catch (error) {
        if (!(error instanceof InvalidLimits)) throw error;
        const { field, value, allowed } = error;
        return { invalid: { field, value, allowed } };
      }
      return { state, wake_at: wakeAt(state) };
    },

    event({ event }) {
      if (state === null) throw new Error("there is no pool before reset");
      if (!events.includes(event.event)) throw new Error(`no such event: ${event.event}`);
      if (event.event === "Configure") event = { ...event, limits: makeLimits(event.limits) };
      const after = step(state, event);
      state = after.state;
      return { effects: after.effects, state, wake_at: wakeAt(state) };
    },

    stop: () => ({ stopped: true }),
  };

  return (request) => {
    try {
      if (!Object.hasOwn(commands, request.command))
        throw new Error(`no such command: ${request.command}`);
      return { id: request.id, ...commands[request.command](request) };
    } catch (error) {
      return { id: request.id ?? null, error: error.message };
    }
  };
}

async function main() {
  const text = { type: "string" };
  const { values } = parseArgs({ options: { fault: text, only: text, openers: text } });
  if (values.fault) plant(values.fault);
  const answer = adapter(values.only?.split(","), values.openers?.split(","));
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    process.stdout.write(JSON.stringify(answer(request)) + "\n");
    if (request.command === "stop") break;
  }
  process.stdin.destroy();
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
