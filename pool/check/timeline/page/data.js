/* A time line of connection pools, drawn on a canvas: its data, and words for them.

   Theory.  The scripts of this page are parts of one function, in the order data, painting, looking,
   hands.  Only what is visible is drawn.  The spans of a lane do not overlap, so the first visible
   one is found by bisection; those that are narrower than a pixel are added up, and a pixel shows
   which part of its time the connection was in use.  So a frame costs what is on the screen, and an
   addition for each span behind it.  Data never become HTML: they are put in as text. */
const $ = (id) => document.getElementById(id);
const over = $("over"), view = $("view"), tip = $("tip"), detail = $("detail");

// ---------------------------------------------------------------- data

async function unpack() {
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

let data;
try {
  data = await unpack();
} catch (error) {
  $("message").textContent = `This page cannot be drawn: ${error.message}. It needs a browser that has DecompressionStream.`;
  $("message").hidden = false;
  throw error;
}
const [WAIT, CONNECT, IDLE, USE, CHECK] = data.kinds.keys();
const sum = (column) => { let s = 0; return Float64Array.from(column, (one) => (s += one)); };
const START = Math.min(...data.pools.map((one) => one.began));  // seconds since 1970; all else: microseconds since then
const pools = data.pools.map(prepare);
const LAST = Math.max(1000, ...pools.map((one) => one.last));

function prepare(raw) {
  const shift = (raw.began - START) * 1e6;
  const at = sum(raw.events.at).map((one) => one + shift);
  const s = raw.spans, n = s.first.length, first = Int32Array.from(sum(s.first));
  const pool = {...raw, at, line: sum(raw.events.line), n, first, last: at[at.length - 1], begin: at[0],
    s: new Float64Array(n), e: new Float64Array(n), match: null};
  const tracks = (count) => Array.from({length: count}, () => []);
  const lanes = tracks(raw.lanes), rows = tracks(raw.rows);
  for (let i = 0; i < n; i++) {
    pool.s[i] = at[first[i]];
    pool.e[i] = at[s.last[i]];
    if (s.kind[i] === WAIT) rows[s.place[i]].push(i);
    else lanes[raw.connections[s.place[i]][1]].push(i);
  }
  const order = (track) => Int32Array.from(track.sort((a, b) => pool.s[a] - pool.s[b] || pool.e[a] - pool.e[b]));
  pool.lanes = lanes.map(order);
  pool.rows = rows.map(order);
  pool.bad = raw.ends.map((end) => /^(refused|failed)/.test(end));
  pool.most = Math.max(1, raw.lanes, ...raw.limits.map((one) => one[1] || 0));
  pool.queue = raw.events.waiting.reduce((a, b) => Math.max(a, b), 0);
  return pool;
}

// First in the track that ends behind t.
function bisect(track, ends, t) {
  let low = 0, high = track.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[track[middle]] < t) low = middle + 1; else high = middle;
  }
  return low;
}
function after(column, t) {
  let low = 0, high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < t) low = middle + 1; else high = middle;
  }
  return low;
}

// ---------------------------------------------------------------- words

const two = (n) => String(n).padStart(2, "0");
function clock(t, step = 1) {  // step: microseconds that matter
  const date = new Date(START * 1000 + t / 1000);
  let text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (step < 1e6) {
    const digits = step >= 1e5 ? 1 : step >= 1e4 ? 2 : step >= 1e3 ? 3 : 6;
    const micro = ((START * 1e6 + t) % 1e6 + 1e6) % 1e6;
    text += (Math.floor(micro + 1e-3) / 1e6).toFixed(6).slice(1, 2 + digits);
  }
  return text;
}
const day = (t) => { const d = new Date(START * 1000 + t / 1000); return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`; };
function lasting(t) {
  const a = Math.abs(t);
  if (a < 1000) return `${Math.round(t)} µs`;
  if (a < 1e6) return `${+(t / 1000).toPrecision(3)} ms`;
  if (a < 60e6) return `${+(t / 1e6).toPrecision(3)} s`;
  const seconds = Math.round(t / 1e6), minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
const owner = (pool, i) => (pool.spans.owner[i] < 0 ? "" : pool.owners[pool.spans.owner[i]]);
const short = (name) => name.replace(/^(thread|task) '(.*?)'( at .*)?$/s, "$2");
const many = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
