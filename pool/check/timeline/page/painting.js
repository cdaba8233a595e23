/* What is drawn. See data.js. */

// ---------------------------------------------------------------- colours

let C = {};
function colours() {
  const style = getComputedStyle(document.documentElement);
  C = new Proxy({}, {get: (cache, name) => (cache[name] ??= style.getPropertyValue("--" + name).trim())});
  C.list = style.getPropertyValue("--names").trim().split(/\s+/);
}
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function colourOf(pool, i) {
  const kind = pool.spans.kind[i], end = pool.ends[pool.spans.end[i]];
  if (kind === WAIT) return end === "cancelled" ? C.cancelled : end.startsWith("refused") ? C.bad : C.wait;
  if (kind === CONNECT) return end.startsWith("failed") ? C.bad : C.connect;
  if (kind === IDLE) return C.idle;
  if (kind === CHECK) return C.check;
  return pool.spans.owner[i] < 0 ? C.use : C.list[pool.spans.owner[i] % C.list.length];
}

// ---------------------------------------------------------------- where things are

const LEFT = 132, RIGHT = 14, RULER = 26, STRIP = 54, SPACE = 14, TITLE = 26;
let LANE = 20;
let width = 0, height = 0, scroll = 0, t0 = 0, t1 = LAST, hover = null, picked = null, frame = 0, cursor = null, brush = null;
let box = [];  // of each pool: y of its parts, without scroll

function layout() {
  LANE = 20;
  arrange();
  const room = view.clientHeight - total(), lanes = pools.reduce((a, one) => a + one.lanes.length, 0);
  if (room > 0 && lanes) {  // what is left is theirs
    LANE = Math.min(34, 20 + Math.floor(room / lanes));
    arrange();
  }
}
function arrange() {
  let y = RULER + 4;
  box = pools.map((pool) => {
    const row = pool.rows.length ? Math.max(2, Math.min(11, 190 / pool.rows.length)) : 0;
    const one = {title: y, strip: y + TITLE, row};
    one.queue = one.strip + STRIP + (pool.rows.length ? SPACE + 4 : 4);
    one.lanes = one.queue + row * pool.rows.length + SPACE;
    one.end = one.lanes + LANE * pool.lanes.length + 10;
    y = one.end + 14;
    return one;
  });
}
const total = () => (box.length ? box[box.length - 1].end : 0);
const wide = () => Math.max(50, width - LEFT - RIGHT);
const X = (t) => LEFT + ((t - t0) / (t1 - t0)) * wide();
const T = (x) => t0 + ((x - LEFT) / wide()) * (t1 - t0);

function show(from, to) {
  const least = 20, edge = LAST * 0.02;
  let span = Math.min(Math.max(to - from, least), LAST + 2 * edge);
  let begin = (from + to) / 2 - span / 2;
  begin = Math.min(Math.max(begin, -edge), LAST + edge - span);
  t0 = begin;
  t1 = begin + span;
  draw();
}
const zoom = (factor, t = (t0 + t1) / 2) => show(t - (t - t0) * factor, t + (t1 - t) * factor);
const pan = (part) => show(t0 + (t1 - t0) * part, t1 + (t1 - t0) * part);
const fit = () => show(-LAST * 0.02, LAST * 1.02);
function rollTo(y) { scroll = Math.min(Math.max(0, y), Math.max(0, total() - height)); draw(); }
function draw() { if (!frame) frame = requestAnimationFrame(paint); }

function size(canvas) {
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, w, h);
  return [pen, w, h];
}
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

// ---------------------------------------------------------------- painting

function paint() {
  frame = 0;
  let pen;
  [pen, width, height] = size(view);
  scroll = Math.min(scroll, Math.max(0, total() - height));
  pen.font = `11px ${FONT}`;
  pen.textBaseline = "middle";
  const steps = grid(pen);
  pen.save();
  pen.beginPath();
  pen.rect(0, RULER, width, height - RULER);
  pen.clip();
  pools.forEach((pool, i) => section(pen, pool, box[i]));
  pen.restore();
  ruler(pen, steps);
  overview();
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5,
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400].map((s) => s * 1e6)];
function grid(pen) {
  const step = STEPS.find((one) => (one / (t1 - t0)) * wide() > 92) || 86400e6;
  const zone = new Date(START * 1000).getTimezoneOffset() * 60e6, base = START * 1e6 - zone;
  const ticks = [];
  for (let t = Math.ceil((t0 + base) / step) * step - base; t < t1; t += step) ticks.push(t);
  pen.fillStyle = C.grid;
  for (const t of ticks) pen.fillRect(Math.round(X(t)), RULER, 1, height);
  return {step, ticks};
}
function ruler(pen, {step, ticks}) {
  pen.fillStyle = C.ground;
  pen.fillRect(0, 0, width, RULER);
  pen.fillStyle = C.line;
  pen.fillRect(0, RULER - 1, width, 1);
  pen.fillStyle = C.faint;
  pen.textAlign = "left";
  pen.fillText(lasting(t1 - t0), 16, 13);
  pen.textAlign = "center";
  for (const t of ticks) if (X(t) > LEFT + 20 && X(t) < width - 30) pen.fillText(clock(t, step), X(t), 13);
  const line = cursor ?? (hover && hover.t);
  if (line !== null && line !== undefined && line >= t0 && line <= t1) {
    pen.fillStyle = C.ink;
    pen.globalAlpha = 0.45;
    pen.fillRect(Math.round(X(line)), RULER, 1, height);
    pen.globalAlpha = 1;
    const text = clock(line, (t1 - t0) / 1000), w = pen.measureText(text).width + 12;
    const x = Math.min(Math.max(X(line) - w / 2, LEFT), width - w - 2);
    pen.fillStyle = C.ink;
    round(pen, x, 4, w, 18, 4);
    pen.fillStyle = C.ground;
    pen.fillText(text, x + w / 2, 13);
  }
  if (brush) {
    pen.fillStyle = C.accent;
    pen.globalAlpha = 0.18;
    pen.fillRect(Math.min(brush[0], brush[1]), RULER, Math.abs(brush[1] - brush[0]), height);
    pen.globalAlpha = 1;
  }
}
function round(pen, x, y, w, h, r) {
  pen.beginPath();
  if (w > 3 && pen.roundRect) pen.roundRect(x, y, w, h, Math.min(r, w / 2)); else pen.rect(x, y, w, h);
  pen.fill();
}
function clipped(pen, text, x, y, most) {
  if (most < 16) return;
  if (pen.measureText(text).width > most) {
    let low = 0, high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pen.measureText(text.slice(0, middle) + "…").width <= most) low = middle; else high = middle - 1;
    }
    if (!low) return;
    text = text.slice(0, low) + "…";
  }
  pen.fillText(text, x, y);
}

function section(pen, pool, at) {
  const dy = -scroll, y = (part) => at[part] + dy;
  if (y("end") < RULER || y("title") > height) return;
  const right = LEFT + wide();
  // the name, and what is so of the whole pool
  pen.textAlign = "left";
  pen.fillStyle = C.ink;
  pen.font = `600 12px ${FONT}`;
  pen.fillText(`pool '${pool.pool}'`, 16, y("title") + 13);
  const named = pen.measureText(`pool '${pool.pool}'`).width;
  pen.font = `11px ${FONT}`;
  pen.fillStyle = C.faint;
  pen.fillText(`process ${pool.pid}`, 16 + named + 10, y("title") + 13.5);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, RULER, wide(), height);
  pen.clip();
  const bands = [...pool.bands].sort((one, other) => one[0] - other[0]);
  bands.forEach(([first, last, kind, text], i) => {
    const a = X(pool.at[first]), b = Math.max(a + 2, X(pool.at[last]));
    if (b < LEFT || a > right) return;
    pen.fillStyle = C[kind];
    pen.fillRect(a, y("strip") - 2, b - a, at.end - at.strip);
    pen.fillStyle = kind === "outage" ? C.bad : C.check;
    pen.fillRect(a, y("strip") - 4, b - a, 3);
    const from = Math.max(a, LEFT + named + 20);
    const said = `${kind === "outage" ? "outage" : text}, ${lasting(pool.at[last] - pool.at[first])}${kind === "outage" ? ": " + text : ""}`;
    const next = i + 1 < bands.length ? X(pool.at[bands[i + 1][0]]) : right;  // it may be longer than its band
    clipped(pen, said.replace(/\s+/g, " "), from + 4, y("title") + 13, Math.min(Math.max(b, next), right) - from - 8);
  });
  strip(pen, pool, at, y("strip"), right);
  pool.rows.forEach((row, i) => track(pen, pool, row, y("queue") + i * at.row, at.row - (at.row > 4 ? 2 : at.row > 2.5 ? 1 : 0), false));
  pool.lanes.forEach((lane, i) => {
    const top = y("lanes") + i * LANE;
    if (top > -LANE && top < height) track(pen, pool, lane, top + 2, LANE - 5, true);
  });
  marks(pen, pool, at, dy);
  pen.restore();
  // what the parts are
  pen.textAlign = "right";
  pen.fillStyle = C.faint;
  if (pool.rows.length) pen.fillText(`queue, at most ${pool.queue}`, LEFT - 12, y("queue") + 7);
  pool.lanes.forEach((lane, i) => {
    const top = y("lanes") + i * LANE;
    if (top > RULER - LANE && top < height) pen.fillText(`lane ${i + 1}`, LEFT - 12, top + LANE / 2);
  });
  pen.fillStyle = C.line;
  pen.fillRect(LEFT - 6, y("lanes") - SPACE / 2, right - LEFT + 6, 1);
  pen.fillRect(0, y("end"), width, 1);
}

function strip(pen, pool, at, y, right) {
  const h = STRIP - 8, k = h / pool.most, n = pool.at.length, pixels = Math.ceil(wide());
  const most = new Float32Array(pixels + 1), opening = new Float32Array(pixels + 1);
  let i = Math.max(0, after(pool.at, t0) - 1), last = -1, u = 0, o = 0;
  const put = (px, a, b) => { if (a > most[px]) most[px] = a; if (b > opening[px]) opening[px] = b; };
  for (; i < n && pool.at[i] <= t1; i++) {  // the most of each pixel
    const px = Math.max(0, Math.min(pixels, Math.floor(X(pool.at[i]) - LEFT)));
    for (let gap = Math.max(last, 0); last >= 0 && gap <= px; gap++) put(gap, u, o);
    u = pool.events.used[i];
    o = u + pool.events.opening[i];
    put(px, u, o);
    last = px;
  }
  if (last >= 0 && i < n) for (let gap = last; gap <= pixels; gap++) put(gap, u, o);
  for (const [values, colour] of [[opening, C.connect], [most, C.use]]) {
    pen.fillStyle = colour;
    pen.globalAlpha = 0.55;
    for (let px = 0; px < pixels; px++) {
      if (!values[px]) continue;
      let end = px;
      while (end + 1 < pixels && values[end + 1] === values[px]) end++;
      pen.fillRect(LEFT + px, y + h - values[px] * k, end - px + 1, values[px] * k);
      px = end;
    }
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = C.ink;
  pen.setLineDash([4, 3]);
  pool.limits.forEach(([event, limit], j) => {
    if (limit === null) return;
    const end = j + 1 < pool.limits.length ? pool.at[pool.limits[j + 1][0]] : pool.last;
    const a = Math.max(LEFT, X(pool.at[event])), b = Math.min(right, X(end)), top = Math.round(y + h - limit * k) + 0.5;
    if (b <= a) return;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(a, top);
    pen.lineTo(b, top);
    pen.stroke();
    pen.globalAlpha = 1;
  });
  pen.setLineDash([]);
  pen.restore();
  pen.fillStyle = C.faint;
  pen.textAlign = "right";
  const now = [...pool.limits].reverse().find(([event]) => pool.at[event] <= t1) || pool.limits[0];
  pen.fillText("in use", LEFT - 12, y + h / 2 + 7);
  pen.fillText(now && now[1] !== null ? `max_size ${now[1]}` : "no max_size", LEFT - 12, y + h / 2 - 7);
  pen.textAlign = "left";
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, RULER, wide(), height);
  pen.clip();
}

// One lane or row. Narrow spans are added up, for each pixel.
function track(pen, pool, spans, y, h, isLane) {
  if (y > height || y + h < RULER) return;
  const pixels = Math.ceil(wide()), k = wide() / (t1 - t0), kinds = pool.spans.kind;
  let bins = null;
  const bin = (px, slot, amount) => {
    bins ??= new Float32Array((pixels + 1) * 4);
    bins[px * 4 + slot] += amount;
  };
  let i = bisect(spans, pool.e, t0);
  for (; i < spans.length; i++) {
    const one = spans[i], from = pool.s[one];
    if (from > t1) break;
    const a = (from - t0) * k, w = (pool.e[one] - from) * k, dim = pool.match && !pool.match[one];
    const kind = kinds[one];
    if (w < 1.2) {
      const bad = pool.bad[pool.spans.end[one]] || kind === CHECK;
      const px = Math.min(pixels, Math.max(0, Math.floor(a)));
      bin(px, dim ? 3 : bad ? 2 : kind === IDLE ? 1 : 0, Math.max(w, 0.15));
      continue;
    }
    const x = Math.max(-3, a), wide_ = Math.min(pixels + 3, a + w) - x;
    pen.globalAlpha = dim ? 0.15 : 1;
    pen.fillStyle = colourOf(pool, one);
    const gap = wide_ > 4 ? 1 : 0;
    if (kind === IDLE) pen.fillRect(LEFT + x, y + h * 0.38, wide_ - gap, h * 0.24);
    else if (kind === CONNECT) round(pen, LEFT + x, y + h * 0.2, wide_ - gap, h * 0.6, 3);
    else round(pen, LEFT + x, y, wide_ - gap, h, 3);
    if (one === (picked && picked.pool === pool && picked.span) || one === (hover && hover.pool === pool && hover.span)) {
      pen.globalAlpha = 1;
      pen.strokeStyle = C.ink;
      pen.lineWidth = 1.5;
      pen.strokeRect(LEFT + x, y - 0.5, wide_ - gap, h + 1);
    }
    if (h >= 9 && wide_ > 26 && kind !== IDLE && kind !== CONNECT) {
      pen.fillStyle = kind === WAIT && !pool.bad[pool.spans.end[one]] ? C.dusk : C.on;
      pen.font = `${h > 11 ? 11 : 9}px ${FONT}`;
      const text = short(owner(pool, one));
      clipped(pen, kind === WAIT && wide_ > 150 ? `${text}, ${pool.ends[pool.spans.end[one]]} after ${lasting(pool.e[one] - pool.s[one])}` : text,
        LEFT + Math.max(x, 0) + 5, y + h / 2 + 0.5, Math.min(wide_, pixels - x) - 9);
    }
    pen.globalAlpha = 1;
    if (isLane && pool.connections[pool.spans.place[one]][3] === pool.spans.last[one]) {
      const next = i + 1 < spans.length ? (pool.s[spans[i + 1]] - t0) * k : pixels;
      closing(pen, pool, one, LEFT + a + w, y, h, dim, next - a - w);
    }
  }
  if (bins) {
    columns(pen, pixels, y + h * 0.38, h * 0.24, false, C.idle, (px) => (bins[px * 4 + 1] ? 1 : 0));
    columns(pen, pixels, y, h, true, C.use, (px) => Math.min(1, bins[px * 4 + 3]), 0.2);
    columns(pen, pixels, y, h, true, isLane ? C.use : C.wait, (px) => bins[px * 4] && (isLane ? Math.max(0.15, Math.min(1, bins[px * 4])) : 1));
    columns(pen, pixels, isLane ? y + h * 0.2 : y, isLane ? h * 0.6 : h, false, C.bad, (px) => (bins[px * 4 + 2] ? 1 : 0));
  }
}

// A column for each pixel; neighbours that are as tall are one, for a rectangle is what costs.
function columns(pen, pixels, y, h, isWhole, colour, part, opaque = 1) {
  pen.globalAlpha = opaque;
  pen.fillStyle = colour;
  let from = 0, tall = 0;
  for (let px = 0; px <= pixels + 1; px++) {
    const now = px > pixels ? 0 : isWhole ? Math.round(part(px) * h) || (part(px) ? 1 : 0) : part(px) * h;
    if (now === tall) continue;
    if (tall) pen.fillRect(LEFT + from, y + h - tall, px - from, tall);
    from = px;
    tall = now;
  }
  pen.globalAlpha = 1;
}

const PLAIN = new Set(["(the recording ends)", "forgotten"]);
function closing(pen, pool, one, x, y, h, dim, room) {
  const why = pool.ends[pool.connections[pool.spans.place[one]][4]];
  if (PLAIN.has(why) || x < LEFT || x > LEFT + wide() || pool.spans.kind[one] === CONNECT) return;
  pen.globalAlpha = dim ? 0.25 : 1;
  pen.fillStyle = why === "dead" || why === "not_reusable" ? C.bad : C.faint;
  pen.fillRect(Math.round(x) - 1, y - 1, 2, h + 2);
  pen.font = `10px ${FONT}`;
  if (pen.measureText(why).width < room - 8) pen.fillText(why, x + 4, y + h / 2 + 0.5);
  pen.globalAlpha = 1;
}

function marks(pen, pool, at, dy) {
  const taken = [];
  for (const [event, kind, text, connection] of pool.marks) {
    const t = pool.at[event], x = Math.round(X(t));
    if (t < t0 || t > t1) continue;
    pen.fillStyle = kind === "leak" ? C.bad : C.mark;
    if (connection >= 0) {
      const y = at.lanes + dy + pool.connections[connection][1] * LANE;
      pen.beginPath();
      pen.moveTo(x - 4, y);
      pen.lineTo(x + 4, y);
      pen.lineTo(x, y + 7);
      pen.fill();
      continue;
    }
    for (let y = at.strip + dy - 4; y < at.end + dy; y += 6) pen.fillRect(x, y, 1, 3);
    const w = Math.min(260, pen.measureText(text).width + 1), isRight = x + 6 + w < LEFT + wide();
    const a = isRight ? x : x - w - 8, b = isRight ? x + w + 8 : x;
    if (taken.some(([from, to]) => a < to && b > from)) continue;
    taken.push([a, b]);
    pen.textAlign = "left";
    pen.fillStyle = C.ground;
    pen.globalAlpha = 0.8;
    pen.fillRect(a + 3, at.strip + dy - 3, w + 2, 15);
    pen.globalAlpha = 1;
    pen.fillStyle = kind === "leak" ? C.bad : C.mark;
    clipped(pen, text, a + 4, at.strip + dy + 5, w);
  }
}

function overview() {
  const [pen, w, h] = size(over), k = (w - LEFT - RIGHT) / LAST, part = (h - 12) / pools.length;
  pools.forEach((pool, p) => {
    const top = 6 + p * part, tall = part - 4, pixels = Math.ceil(w - LEFT - RIGHT);
    if (!pool.profile || pool.profile.pixels !== pixels) {
      const used = new Float32Array(pixels + 1), waiting = new Float32Array(pixels + 1);
      let last = Math.max(0, Math.floor(pool.at[0] * k)), u = 0, q = 0;
      for (let i = 0; i < pool.at.length; i++) {
        const px = Math.min(pixels, Math.max(0, Math.floor(pool.at[i] * k)));
        for (; last < px; last++) { used[last] = Math.max(used[last], u); waiting[last] = Math.max(waiting[last], q); }
        u = pool.events.used[i];
        q = pool.events.waiting[i];
        used[px] = Math.max(used[px], u);
        waiting[px] = Math.max(waiting[px], q);
      }
      pool.profile = {pixels, used, waiting};
    }
    for (const [first, end, kind] of pool.bands) {
      pen.fillStyle = C[kind];
      pen.fillRect(LEFT + pool.at[first] * k, top, Math.max(1, (pool.at[end] - pool.at[first]) * k), tall);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.font = `11px ${FONT}`;
    pen.fillStyle = C.faint;
    if (tall > 10) pen.fillText(pools.length > 1 ? pool.pool.slice(0, 16) : "in use, waiting", LEFT - 12, top + tall / 2);
    const {used, waiting} = pool.profile, half = tall / 2;
    for (let px = 0; px < pixels; px++) {
      if (waiting[px]) { const v = (waiting[px] / pool.queue) * (half - 1); pen.fillStyle = C.wait; pen.fillRect(LEFT + px, top + half - v, 1, v); }
      if (used[px]) { const v = (used[px] / pool.most) * (half - 1); pen.fillStyle = C.use; pen.fillRect(LEFT + px, top + tall - v, 1, v); }
    }
  });
  const a = LEFT + Math.max(0, t0) * k, b = LEFT + Math.min(LAST, t1) * k;
  pen.fillStyle = C.ground;
  pen.globalAlpha = 0.66;
  pen.fillRect(LEFT, 2, Math.max(0, a - LEFT), h - 4);
  pen.fillRect(b, 2, Math.max(0, w - RIGHT - b), h - 4);
  pen.globalAlpha = 1;
  pen.strokeStyle = C.accent;
  pen.lineWidth = 1.5;
  pen.strokeRect(a, 2, Math.max(3, b - a), h - 4);
  pen.fillStyle = C.line;
  pen.fillRect(0, h - 1, w, 1);
}
