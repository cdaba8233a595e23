/* What is where, and what is said of it; search. See data.js. */

// ---------------------------------------------------------------- what is where

function hit(x, y) {
  const t = T(x), found = {t, pool: null, span: -1};
  if (x < LEFT || y < RULER) return found;
  const near = (3 / wide()) * (t1 - t0);
  for (let p = 0; p < pools.length; p++) {
    const pool = pools[p], at = box[p], v = y + scroll;
    if (v < at.title || v > at.end) continue;
    found.pool = pool;
    let spans = null;
    if (v >= at.lanes) spans = pool.lanes[Math.floor((v - at.lanes) / LANE)];
    else if (v >= at.queue && at.row) spans = pool.rows[Math.floor((v - at.queue) / at.row)];
    if (!spans) break;
    let best = Infinity;
    for (let i = bisect(spans, pool.e, t - near); i < spans.length && pool.s[spans[i]] <= t + near; i++) {
      const one = spans[i], off = Math.max(0, pool.s[one] - t, t - pool.e[one]);
      const rank = off + (pool.match && !pool.match[one] ? near * 4 : 0);
      if (rank < best) { best = rank; found.span = one; }
    }
    break;
  }
  return found;
}

// ---------------------------------------------------------------- what is said of it

function put(parent, name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}
function place(pool, event) {
  const file = [...pool.files].reverse().find(([first]) => first <= event);
  return pool.line[event] > 0 && file ? `${file[1]}: line ${pool.line[event]}` : "";
}
function saidOf(pool, event) {
  const [name, effects] = pool.whats[pool.events.what[event]];
  const of = [pool.events.ticket[event] >= 0 ? `ticket ${pool.events.ticket[event]}` : "", pool.events.key[event] >= 0 ? `connection ${pool.events.key[event]}` : ""].filter(Boolean).join(", ");
  return name + (of ? ` (${of})` : "") + (effects.length ? " → " + effects.join(", ") : "");
}
const rulesOf = (pool, event) => pool.whats[pool.events.what[event]][2];

function row(table, name, ...values) {
  const line = put(table, "tr");
  put(line, "td", name);
  const cell = put(line, "td");
  values.filter(Boolean).forEach((value, i) => {
    if (i) put(cell, "br");
    put(cell, Array.isArray(value) ? "code" : "span", Array.isArray(value) ? value.join(" ") : value);
  });
}
const WHAT = {wait: "Waits", connect: "Connecting", idle: "Idle", use: "In use", check: "Checked, and found dead"};
function heading(target, text, colour) {
  const title = put(target, "h3");
  if (colour) put(title, "i").style.background = colour;
  put(title, "span", text);
}
function rulesList(target, ids) {
  const list = put(target, "dl", undefined, "rules");
  for (const id of new Set(ids)) { put(put(list, "dt"), "code", id); put(list, "dd", data.rules[id].replace(/`|\*\*/g, "")); }
}

function describe(target, pool, one, full) {
  target.replaceChildren();
  const s = pool.spans, kind = data.kinds[s.kind[one]], from = pool.s[one], to = pool.e[one];
  const end = pool.ends[s.end[one]], name = owner(pool, one);
  heading(target, WHAT[kind] + (name ? (kind === "use" || kind === "check" ? " by " : ": ") + name : ""), colourOf(pool, one));
  const table = put(target, "table");
  if (kind !== "wait") {
    const key = pool.connections[s.place[one]][0];
    row(table, "connection", key < 0 ? "none came of it" : String(key));
  }
  if (s.ticket[one] > 0) row(table, "ticket", String(s.ticket[one]));
  row(table, "lasted", lasting(to - from) + (pool.earlier[one] ? `, and ${kind === "wait" ? "some time" : lasting(pool.earlier[one])} before the recording` : ""));
  row(table, "from", `${clock(from)}`, saidOf(pool, pool.first[one]), rulesOf(pool, pool.first[one]), full && place(pool, pool.first[one]));
  row(table, "until", `${clock(to)}`, end.replace(/\s+/g, " "), saidOf(pool, s.last[one]), rulesOf(pool, s.last[one]), full && place(pool, s.last[one]));
  if (full) rulesList(target, [...rulesOf(pool, pool.first[one]), ...rulesOf(pool, s.last[one])]);
}
function describeEvent(target, pool, event) {
  target.replaceChildren();
  heading(target, saidOf(pool, event));
  const table = put(target, "table"), e = pool.events;
  row(table, "at", `${day(pool.at[event])} ${clock(pool.at[event])}`);
  row(table, "pool", `${e.used[event]} in use, ${e.idle[event]} idle, ${e.opening[event]} opening, ${e.waiting[event]} waiting`);
  row(table, "event", `${event.toLocaleString("en")} of ${(pool.at.length - 1).toLocaleString("en")}`, place(pool, event));
  for (const [at, , text] of pool.marks) if (at === event) row(table, "what", text);
  if (rulesOf(pool, event).length) rulesList(target, rulesOf(pool, event));
}
function close() { picked = null; cursor = null; detail.hidden = true; draw(); }
function open(fill) {
  fill(detail);
  const button = put(detail, "button", "×", "close");
  button.setAttribute("aria-label", "close");
  button.onclick = () => { close(); view.focus(); };
  detail.hidden = false;
  tip.hidden = true;
  draw();
}
function pick(pool, one) { picked = {pool, span: one, event: pool.first[one]}; cursor = null; open((target) => describe(target, pool, one, true)); }
function pickEvent(pool, event) {
  picked = {pool, span: -1, event};
  cursor = pool.at[event];
  if (cursor < t0 || cursor > t1) show(cursor - (t1 - t0) / 2, cursor + (t1 - t0) / 2);
  open((target) => describeEvent(target, pool, event));
}
function step(by) {
  const pool = picked ? picked.pool : pools[0];
  const from = picked ? picked.event + by : Math.max(0, after(pool.at, t0));
  pickEvent(pool, Math.min(pool.at.length - 1, Math.max(0, from)));
}

// ---------------------------------------------------------------- search

let matches = [], current = -1;
function search() {
  const wanted = $("search").value.trim().toLowerCase();
  matches = [];
  current = -1;
  const numbered = /^(connection|ticket) (\d+)$/.exec(wanted), isRule = wanted.toUpperCase() in data.rules;
  pools.forEach((pool) => {
    pool.match = null;
    if (!wanted) return;
    const s = pool.spans, has = (text) => String(text).toLowerCase().includes(wanted);
    const owners = pool.owners.map(has), ends = pool.ends.map(has), whats = pool.whats.map(([name, effects, rules]) =>
      isRule ? rules.some((rule) => rule.toLowerCase() === wanted) : name.toLowerCase() === wanted);
    pool.match = new Uint8Array(pool.n);
    for (let i = 0; i < pool.n; i++) {
      const found = numbered
        ? (numbered[1] === "ticket" ? s.ticket[i] === +numbered[2] : s.kind[i] !== WAIT && pool.connections[s.place[i]][0] === +numbered[2])
        : isRule ? whats[pool.events.what[pool.first[i]]] || whats[pool.events.what[s.last[i]]]
        : owners[s.owner[i]] || ends[s.end[i]] || whats[pool.events.what[pool.first[i]]] || whats[pool.events.what[s.last[i]]];
      if (found) { pool.match[i] = 1; matches.push([pool, i]); }
    }
  });
  matches.sort((a, b) => a[0].s[a[1]] - b[0].s[b[1]]);
  $("found").value = wanted ? many(matches.length, "span") : "";
  draw();
}
function goTo(by) {
  if (!matches.length) return step(by);
  if (current < 0) {
    const middle = picked ? picked.pool.at[picked.event] : t0;
    current = matches.findIndex(([pool, i]) => pool.s[i] >= middle);
    if (current < 0) current = 0;
  } else current = (current + by + matches.length) % matches.length;
  const [pool, one] = matches[current], from = pool.s[one], to = pool.e[one], long = Math.max(to - from, 200);
  $("found").value = `${(current + 1).toLocaleString("en")} of ${matches.length.toLocaleString("en")}`;
  if (from < t0 || to > t1 || long < (t1 - t0) / 60) { const span = Math.min(Math.max(long * 6, 2000), LAST); show((from + to) / 2 - span / 2, (from + to) / 2 + span / 2); }
  reveal(pool, one);
  pick(pool, one);
}
function where(pool, one) {
  const at = box[pools.indexOf(pool)], s = pool.spans;
  const y = s.kind[one] === WAIT ? at.queue + (s.place[one] + 0.4) * at.row : at.lanes + (pool.connections[s.place[one]][1] + 0.5) * LANE;
  return [X((Math.max(t0, pool.s[one]) + Math.min(t1, pool.e[one])) / 2), y - scroll];
}
function reveal(pool, one) {
  const y = where(pool, one)[1];
  if (y < RULER + 10 || y > height - 30) rollTo(scroll + y - height / 2);
}
