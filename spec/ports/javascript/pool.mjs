// The pool as one pure function: step(state, event) gives { state, effects }.
//
// Theory.  Written from ../../README.md; every id in a comment is a rule there.  The state
// is plain data with the field names of the specification, so it is its own JSON encoding:
// what has an order is a sorted array, and nothing else is needed.  A step copies the state
// into a Transition, whose methods change the copy; the state it was given is never touched.
// That costs time in proportion to the size of the pool, and buys that each method below can
// be read beside its rule.  Events and effects are plain data too, named by `event` and
// `effect`.  A handler that returns a text was not allowed; the text says why.

const NONE = null;

// INI-1
export function initial(limits) {
  return {
    limits,
    phase: "open",
    idle: [],
    in_use: [],
    waiters: [],
    opening_tickets: [],
    opening_background: 0,
    failures: 0,
    retry_at: limits.min_idle > 0 ? 0 : NONE,
    last_error: NONE,
    retire_before: 0,
    next_seq: 1,
    next_ticket: 1,
    issued: 0,
    granted: 0,
    counters: {
      opened: 0, adopted: 0, closed: 0, forgotten: 0, refused: 0, cancelled: 0, dead: 0,
    },
  };
}

// Section 5: guard, small update, serve.
export function step(state, event) {
  const transition = new Transition(state, event.now);
  const why = transition[event.event](event);
  if (why) return { state, effects: [{ effect: "Ignored", why }] };
  if (!transition.served) transition.serve();
  return { state: transition.state, effects: [...transition.wakes, ...transition.io] };
}

// WAK-1
export function wakeAt(state) {
  const { limits, idle, in_use, phase, retry_at, retire_before } = state;
  const times = [];
  if (idle.some(({ created }) => created < retire_before)) times.push(0);
  if (limits.max_lifetime !== NONE) times.push(...idle.map((entry) => endOfLife(limits, entry)));
  if (limits.max_idle !== NONE && idle.length > limits.min_idle)
    times.push(Math.min(...idle.map(({ since }) => since)) + limits.max_idle);
  if (limits.leak_after !== NONE)
    for (const { leaked, checked_out } of in_use)
      if (!leaked) times.push(checked_out + limits.leak_after);
  if (phase === "open" && retry_at !== NONE) times.push(retry_at);
  return times.length ? Math.min(...times) : NONE;
}

const endOfLife = (limits, { created, jitter }) => created + limits.max_lifetime * (1 - jitter);

const byOrder = (one, other) =>
  one.order - other.order || one.seq - other.seq || one.key - other.key;
const byKey = (one, other) => one.key - other.key;
const byTicket = (one, other) => one.ticket - other.ticket;
const byRest = (one, other) =>
  one.since - other.since || one.seq - other.seq || one.key - other.key;

export class Transition {
  constructor(state, now) {
    this.state = {
      ...state,
      idle: [...state.idle],
      in_use: [...state.in_use],
      waiters: [...state.waiters],
      opening_tickets: [...state.opening_tickets],
      counters: { ...state.counters },
    };
    this.now = now;
    this.served = false;
    this.wakes = [];
    this.io = [];
  }

  // ---- Section 3: what follows from the state

  get size() {
    const { idle, in_use, opening_tickets, opening_background } = this.state;
    return idle.length + in_use.length + opening_tickets.length + opening_background;
  }

  isFull() {
    const { max_size } = this.state.limits;
    return max_size !== NONE && this.size >= max_size;
  }

  // ORD-1
  order({ created, seq }) {
    return { oldest: created, lifo: 0 - seq, fifo: seq }[this.state.limits.idle_order];
  }

  // AGE-1: why the entry has expired, or none
  expiry(entry) {
    const { limits, retire_before } = this.state;
    if (entry.created < retire_before) return "retired";
    if (limits.max_lifetime !== NONE && this.now >= endOfLife(limits, entry)) return "lifetime";
    return NONE;
  }

  // ---- Section 4: effects, and what they count

  grant({ ticket, owner }, { key, connection, created, jitter }, rested) {
    this.wakes.push({ effect: "Grant", ticket, key, connection, rested });
    this.state.in_use.push({
      key, connection, created, jitter, checked_out: this.now, ticket, owner, leaked: false,
    });
    this.state.in_use.sort(byKey);
    this.state.granted += 1;
  }

  refuse({ ticket }, reason) {
    this.wakes.push({ effect: "Refuse", ticket, reason, error: this.state.last_error });
    this.state.counters.refused += 1;
  }

  close({ key, connection }, reason) {
    this.io.push({ effect: "Close", key, connection, reason });
    this.state.counters.closed += 1;
  }

  open(ticket) {
    (ticket === NONE ? this.io : this.wakes).push({ effect: "Open", ticket });
  }

  // ---- Section 5: what all transitions share

  serve() {
    const { state } = this;
    if (state.phase !== "open") return; // SRV-1
    while (state.waiters.length && state.idle.length) this.lend(); // SRV-2
    if (state.limits.opener === "caller") this.openForWaiters();
    else this.openForNobody();
  }

  // SRV-2
  lend() {
    const entry = this.state.idle.shift();
    const reason = this.expiry(entry);
    if (reason) this.close(entry, reason);
    else this.grant(this.nextWaiter(), entry, this.now - entry.since);
  }

  nextWaiter() {
    return this.state.waiters.shift();
  }

  // SRV-3
  openForWaiters() {
    const { waiters, opening_tickets } = this.state;
    while (waiters.length && this.hasRoom()) {
      const waiter = this.nextWaiter();
      opening_tickets.push(waiter);
      opening_tickets.sort(byTicket);
      this.open(waiter.ticket);
    }
  }

  // SRV-4
  openForNobody() {
    const { state } = this;
    if (this.isBackingOff()) return;
    state.retry_at = NONE;
    const short = Math.max(0, state.limits.min_idle - state.idle.length);
    const demand = state.waiters.length + short;
    while (state.opening_background < demand && this.hasRoom()) {
      state.opening_background += 1;
      this.open(NONE);
    }
  }

  isBackingOff() {
    return this.state.retry_at !== NONE && this.now < this.state.retry_at;
  }

  // SRV-5
  hasRoom() {
    const { limits, idle, in_use, opening_tickets, opening_background } = this.state;
    const opening = opening_tickets.length + opening_background;
    const allows = (most) => most === NONE || opening < most;
    const isEmpty = idle.length + in_use.length === 0;
    return !this.isFull() && allows(limits.max_connecting) && (isEmpty || allows(limits.max_opening));
  }

  // SET-1
  settle(entry) {
    const reason =
      this.state.phase === "closed" ? "closed" : this.expiry(entry) ?? (this.isFull() ? "surplus" : NONE);
    if (reason) this.close(entry, reason);
    else this.rest(entry, this.drawSeq());
  }

  rest({ key, connection, created, jitter }, seq) {
    const order = this.order({ created, seq });
    this.state.idle.push({ key, connection, created, jitter, since: this.now, seq, order });
    this.state.idle.sort(byOrder);
  }

  drawSeq() {
    return this.state.next_seq++;
  }

  // AWY-1
  sendAway(ticket, reason) {
    const [waiter] = take(this.state.waiters, (one) => one.ticket === ticket);
    const suspended = this.state.phase === "suspended" && ["exhausted", "timeout"].includes(reason);
    this.refuse(waiter, suspended ? "suspended" : reason);
  }

  waits(ticket) {
    return this.state.waiters.some((one) => one.ticket === ticket);
  }

  // The lease of this key and ticket ends; none if there is no such lease.
  endLease(ticket, key) {
    const [lease] = take(this.state.in_use, (one) => one.key === key && one.ticket === ticket);
    return lease ?? NONE;
  }

  closeAllOf(entries, reason) {
    for (const entry of entries.splice(0)) this.close(entry, reason);
  }

  refuseEverybody(reason) {
    const { waiters, opening_tickets } = this.state;
    const unanswered = [...waiters.splice(0), ...opening_tickets.splice(0)];
    for (const one of unanswered.sort(byTicket)) this.refuse(one, reason);
  }

  // ---- Section 6: the events

  Acquire({ ticket, wait, owner }) {
    const { state } = this;
    if (ticket < state.next_ticket) return "this ticket was used before"; // ACQ-1
    state.next_ticket = ticket + 1; // ACQ-2
    state.issued += 1;
    if (state.phase === "closed") return this.refuse({ ticket }, "closed");
    this.join({ ticket, owner }); // ACQ-3
    if (!this.waits(ticket)) return;
    if (!wait) this.sendAway(ticket, "exhausted"); // ACQ-4
    else if (state.limits.max_waiting !== NONE && state.waiters.length > state.limits.max_waiting)
      this.sendAway(ticket, "too_many_waiting"); // ACQ-5
  }

  // ACQ-3, DEA-5
  join(waiter) {
    this.state.waiters.push(waiter);
    this.state.waiters.sort(byTicket);
    this.serve();
    this.served = true;
  }

  Opened({ ticket, connection, created, jitter }) {
    const { state } = this;
    const entry = { key: this.drawSeq(), connection, created, jitter };
    state.counters.opened += 1;
    const [opener] = take(state.opening_tickets, (one) => one.ticket === ticket);
    if (opener) { // OPN-2
      state.last_error = NONE;
      this.grant(opener, entry, NONE);
    } else if (ticket === NONE && state.opening_background > 0) { // OPN-3
      state.opening_background -= 1;
      Object.assign(state, { failures: 0, retry_at: NONE, last_error: NONE });
      if (state.phase === "open" && state.waiters.length && !this.isFull())
        this.grant(this.nextWaiter(), entry, NONE);
      else this.settle(entry); // OPN-4
    } else this.close(entry, "unasked"); // OPN-1
  }

  OpenFailed({ ticket, error, jitter }) {
    const { state } = this;
    const [opener] = take(state.opening_tickets, (one) => one.ticket === ticket);
    const nobodys = ticket === NONE && state.opening_background > 0;
    if (!opener && !nobodys) return "nobody asked for this connect"; // OPF-1
    state.last_error = error;
    if (opener) return this.refuse(opener, "open_failed"); // OPF-2
    state.opening_background -= 1; // OPF-3
    if (!this.isBackingOff()) this.backOff(jitter);
    if (state.phase === "open" && state.counters.opened === 0) // OPF-4
      for (const waiter of state.waiters.splice(0)) this.refuse(waiter, "open_failed");
  }

  // OPF-3
  backOff(jitter) {
    const { limits } = this.state;
    this.state.failures += 1;
    const doubled = limits.backoff_initial * 2 ** Math.min(this.state.failures - 1, 60);
    this.state.retry_at = this.now + Math.min(limits.backoff_max, doubled) * (1 - jitter);
  }

  Dead({ ticket, key, wait }) {
    if (ticket === 0) return "an adopted lease has no caller to wait again"; // DEA-2
    const lease = this.endLease(ticket, key);
    if (!lease) return "this lease is over"; // DEA-1
    this.close(lease, "dead"); // DEA-3
    this.state.counters.dead += 1;
    if (this.state.phase === "closed") return this.refuse(lease, "closed"); // DEA-4
    this.join({ ticket, owner: lease.owner }); // DEA-5
    if (!wait && this.waits(ticket)) this.sendAway(ticket, "exhausted"); // DEA-6
  }

  Release({ ticket, key, reusable }) {
    const lease = this.endLease(ticket, key);
    if (!lease) return "this lease is over"; // REL-1
    if (reusable) this.settle(lease); // REL-3
    else this.close(lease, "not_reusable"); // REL-2
  }

  Discard({ ticket, key }) {
    const lease = this.endLease(ticket, key);
    if (!lease) return "this lease is over"; // DIS-1
    this.close(lease, "discarded"); // DIS-2
  }

  Expire({ ticket }) {
    if (!this.waits(ticket)) return "this ticket does not wait"; // EXP-1
    this.sendAway(ticket, "timeout"); // EXP-2
  }

  Cancel({ ticket }) {
    const { waiters, opening_tickets, in_use, counters } = this.state;
    const its = (one) => one.ticket === ticket;
    if (take(waiters, its).length || take(opening_tickets, its).length) counters.cancelled += 1; // CAN-2, CAN-3
    else {
      const [lease] = ticket === 0 ? [] : take(in_use, its);
      if (!lease) return "this ticket has nothing to give up"; // CAN-1
      this.settle(lease); // CAN-4
    }
  }

  CloseIdle() {
    this.closeAllOf(this.state.idle, "close_idle"); // CLI-1
  }

  CloseStale({ before }) {
    const stale = take(this.state.in_use, ({ checked_out }) => checked_out < before);
    this.closeAllOf(stale, "stale"); // CST-1
  }

  CloseAll() {
    this.closeAllOf(this.state.idle, "close_all"); // CAL-1
    this.closeAllOf(this.state.in_use, "close_all"); // CAL-2
  }

  Retire() {
    if (this.state.phase === "closed") return "the pool is closed"; // RET-1
    this.state.retire_before = Math.max(this.state.retire_before, this.now); // RET-2
    this.closeExpired(); // RET-3
  }

  // RET-3, TIC-1
  closeExpired() {
    for (const entry of take(this.state.idle, (one) => this.expiry(one)))
      this.close(entry, this.expiry(entry));
  }

  Tick() {
    this.closeExpired(); // TIC-1
    this.closeRested();
    this.reportLeaks();
  }

  // TIC-2
  closeRested() {
    const { limits, idle } = this.state;
    if (limits.max_idle === NONE) return;
    for (const entry of [...idle].sort(byRest)) {
      if (idle.length <= limits.min_idle || this.now < entry.since + limits.max_idle) return;
      take(idle, (one) => one.key === entry.key);
      this.close(entry, "rested");
    }
  }

  // TIC-3
  reportLeaks() {
    const { limits, in_use } = this.state;
    if (limits.leak_after === NONE) return;
    for (const [index, lease] of in_use.entries()) {
      const { ticket, key, owner, checked_out, leaked } = lease;
      if (leaked || this.now < checked_out + limits.leak_after) continue;
      in_use[index] = { ...lease, leaked: true };
      this.io.push({ effect: "Leaked", ticket, key, owner, held: this.now - checked_out });
    }
  }

  Configure({ limits }) {
    if (this.state.phase === "closed") return "the pool is closed"; // CFG-1
    if (limits.opener !== this.state.limits.opener) return "the opener cannot change"; // CFG-2
    this.state.limits = limits; // CFG-3
    this.arrange();
  }

  // CFG-3 and CFG-4, ADO-5
  arrange() {
    const { state } = this;
    state.idle = state.idle.map((entry) => ({ ...entry, order: this.order(entry) })).sort(byOrder);
    const { max_size } = state.limits;
    while (max_size !== NONE && this.size > max_size && state.idle.length)
      this.close(state.idle.pop(), "surplus");
  }

  Suspend() {
    if (this.state.phase !== "open") return "the pool is not open"; // SUS-1
    this.state.phase = "suspended"; // SUS-2
  }

  Resume() {
    if (this.state.phase !== "suspended") return "the pool is not suspended"; // RES-1
    this.state.phase = "open"; // RES-2
  }

  Shutdown() {
    if (this.state.phase === "closed") return "the pool is closed"; // SHU-1
    this.state.phase = "closed"; // SHU-2
    this.refuseEverybody("closed"); // SHU-3
    this.closeAllOf(this.state.idle, "closed"); // SHU-4
  }

  Forked() {
    const { state } = this;
    this.refuseEverybody("forked"); // FRK-1
    state.counters.forgotten += state.idle.length + state.in_use.length; // FRK-2
    Object.assign(state, {
      idle: [], in_use: [], opening_background: 0, failures: 0,
      retry_at: NONE, last_error: NONE, retire_before: 0,
    });
  }

  Adopt({ idle, in_use, removed, next_seq }) {
    const { state } = this;
    if (state.phase === "closed") return "the pool is closed"; // ADO-1
    for (const key of removed) // ADO-2
      for (const place of [state.idle, state.in_use])
        state.counters.forgotten += take(place, (one) => one.key === key).length;
    state.next_seq = Math.max(state.next_seq, next_seq, ...idle.map(({ seq }) => seq + 1)); // ADO-3
    for (const { key, connection, created, seq } of idle) {
      const [known] = key === NONE ? [] : take(state.idle, (one) => one.key === key);
      const { since } = known ?? { since: this.now };
      state.idle.push({ ...(known ?? this.adopted()), connection, created, since, seq });
    }
    for (const { key, connection, created, checked_out } of in_use) { // ADO-4
      const [known] = key === NONE ? [] : take(state.in_use, (one) => one.key === key);
      const lease = known ?? { ...this.adopted(), ticket: 0, owner: NONE, leaked: false };
      state.in_use.push({ ...lease, connection, created, checked_out });
    }
    state.in_use.sort(byKey);
    this.arrange(); // ADO-5
  }

  // ADO-3: a new entry
  adopted() {
    this.state.counters.adopted += 1;
    return { key: this.drawSeq(), jitter: 0 };
  }
}

// Every handler is an event, and every event a handler.
export const EVENTS = [
  "Acquire", "Opened", "OpenFailed", "Dead", "Release", "Discard", "Expire", "Cancel", "CloseIdle",
  "CloseStale", "CloseAll", "Retire", "Tick", "Configure", "Suspend", "Resume", "Shutdown", "Forked",
  "Adopt",
];

// Removes the items for which the test holds, and gives them, in their order.
function take(items, test) {
  const taken = items.filter(test);
  if (taken.length) items.splice(0, items.length, ...items.filter((item) => !taken.includes(item)));
  return taken;
}
