// Faults to plant in the port, each one that some pool has had: a test of the tests.
//
// Theory.  pool.mjs knows nothing of this.  A fault replaces methods of Transition, for the
// life of the process; the conformance runner has to notice each of them.

import { Transition } from "./pool.mjs";

const methods = Transition.prototype;

function replace(name, make) {
  methods[name] = make(methods[name]);
}

export const FAULTS = {
  "youngest-first": () =>
    replace("nextWaiter", () => function () {
      return this.state.waiters.pop();
    }),
  "lost-wakeup": () =>
    replace("Discard", (discard) => function (event) {
      this.served = true;
      return discard.call(this, event);
    }),
  "failed-connect-strands": () =>
    replace("OpenFailed", (openFailed) => function (event) {
      this.served = true;
      return openFailed.call(this, event);
    }),
  "slot-leak": () =>
    replace("Cancel", (cancel) => function (event) {
      const opening = this.state.opening_tickets.some(({ ticket }) => ticket === event.ticket);
      const why = cancel.call(this, event);
      if (opening) this.state.opening_background += 1;
      return why;
    }),
  "opens-too-many": () =>
    replace("isFull", () => function () {
      const { limits, idle, in_use } = this.state;
      return limits.max_size !== null && idle.length + in_use.length >= limits.max_size;
    }),
  "connects-all-at-once": () =>
    replace("hasRoom", (hasRoom) => function () {
      const { limits } = this.state;
      this.state.limits = { ...limits, max_connecting: null };
      const room = hasRoom.call(this);
      this.state.limits = limits;
      return room;
    }),
  "no-fence": () =>
    replace("endLease", () => function (ticket, key) {
      const index = this.state.in_use.findIndex((lease) => lease.key === key);
      return index < 0 ? null : this.state.in_use.splice(index, 1)[0];
    }),
  "immortal": () =>
    replace("expiry", (expiry) => function (entry) {
      const reason = expiry.call(this, entry);
      return reason === "lifetime" ? null : reason;
    }),
  "retries-each-failure": () =>
    replace("isBackingOff", () => () => false),
  "cancel-loses-connection": () =>
    replace("Cancel", (cancel) => function (event) {
      const settle = this.settle;
      this.settle = () => {};
      const why = cancel.call(this, event);
      this.settle = settle;
      return why;
    }),
  "suspended-times-out": () =>
    replace("sendAway", (sendAway) => function (ticket, reason) {
      const { phase } = this.state;
      this.state.phase = "open";
      sendAway.call(this, ticket, reason);
      this.state.phase = phase;
    }),
};

export function plant(name) {
  if (!Object.hasOwn(FAULTS, name))
    throw new Error(`no such fault: ${name}; there are ${Object.keys(FAULTS).join(", ")}`);
  FAULTS[name]();
}
