/* Mouse, fingers and keys; then it begins. See data.js. */

// ---------------------------------------------------------------- hands

let drag = null;
view.addEventListener("pointerdown", (event) => {
  view.setPointerCapture(event.pointerId);
  drag = {x: event.offsetX, y: event.offsetY, from: t0, to: t1, scroll, moved: false, marks: event.shiftKey};
});
view.addEventListener("pointermove", (event) => {
  if (drag) {
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 4) drag.moved = true;
    if (!drag.moved) return;
    tip.hidden = true;
    if (drag.marks) { brush = [drag.x, event.offsetX]; draw(); return; }
    view.classList.add("dragging");
    const by = (dx / wide()) * (drag.to - drag.from);
    show(drag.from - by, drag.to - by);
    rollTo(drag.scroll - dy);
    return;
  }
  hover = hit(event.offsetX, event.offsetY);
  cursor = picked && picked.span < 0 ? cursor : null;
  if (hover.span >= 0) {
    describe(tip, hover.pool, hover.span, false);
    tip.hidden = false;
    const x = event.offsetX + 16, y = event.offsetY + over.clientHeight + 16, main = view.parentElement;
    tip.style.left = `${Math.max(4, x + tip.offsetWidth > main.clientWidth - 8 ? event.offsetX - tip.offsetWidth - 12 : x)}px`;
    tip.style.top = `${Math.max(4, Math.min(y, main.clientHeight - tip.offsetHeight - 6))}px`;
  } else tip.hidden = true;
  view.style.cursor = hover.span >= 0 ? "pointer" : "";
  draw();
});
function letGo(event) {
  if (!drag) return;
  view.classList.remove("dragging");
  if (brush && Math.abs(brush[1] - brush[0]) > 5) { const ends = brush.map(T).sort((a, b) => a - b); brush = null; show(...ends); }
  else if (!drag.moved && event.type === "pointerup") {
    const found = hit(event.offsetX, event.offsetY);
    if (found.span >= 0) pick(found.pool, found.span); else close();
  }
  brush = null;
  drag = null;
  draw();
}
view.addEventListener("pointerup", letGo);
view.addEventListener("pointercancel", letGo);
view.addEventListener("pointerleave", () => { hover = null; tip.hidden = true; draw(); });
view.addEventListener("dblclick", (event) => {
  const found = hit(event.offsetX, event.offsetY);
  if (found.span < 0) return zoom(0.4, found.t);
  const from = found.pool.s[found.span], to = found.pool.e[found.span], edge = Math.max(50, (to - from) * 0.3);
  show(from - edge, to + edge);
});
view.addEventListener("wheel", (event) => {
  event.preventDefault();
  tip.hidden = true;
  const unit = event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 300 : 1, dx = event.deltaX * unit, dy = event.deltaY * unit;
  if (event.ctrlKey || event.metaKey) zoom(Math.exp(dy * 0.006), T(event.offsetX));
  else if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) pan((dx || dy) / wide());
  else if (total() > height) rollTo(scroll + dy);
  else zoom(Math.exp(dy * 0.0025), T(event.offsetX));
}, {passive: false});

let holding = null;
function choose(event) {
  const t = ((event.offsetX - LEFT) / (over.clientWidth - LEFT - RIGHT)) * LAST;
  if (event.type === "pointerdown") {
    over.setPointerCapture(event.pointerId);
    const inside = t >= t0 && t <= t1 && t1 - t0 < LAST * 0.98;
    holding = {t, by: inside ? t - t0 : null};
  } else if (!holding) return;
  if (event.type === "pointerup") {
    if (holding.by === null && Math.abs(t - holding.t) < LAST * 0.004) show(t - (t1 - t0) / 2, t + (t1 - t0) / 2);
    holding = null;
  } else if (holding.by !== null) show(t - holding.by, t - holding.by + (t1 - t0));
  else if (Math.abs(t - holding.t) > LAST * 0.004) show(Math.min(t, holding.t), Math.max(t, holding.t));
}
for (const name of ["pointerdown", "pointermove", "pointerup"]) over.addEventListener(name, choose);

function turn() {
  const wanted = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = wanted;
  try { localStorage.setItem("purepool theme", wanted); } catch { /* a page from a file may not keep anything */ }
  refresh();
}
const KEYS = {
  ArrowLeft: (e) => pan(e.shiftKey ? -0.9 : -0.15), ArrowRight: (e) => pan(e.shiftKey ? 0.9 : 0.15),
  ArrowUp: () => rollTo(scroll - 60), ArrowDown: () => rollTo(scroll + 60),
  PageUp: () => rollTo(scroll - height), PageDown: () => rollTo(scroll + height),
  "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), "_": () => zoom(1 / 0.6),
  0: fit, Home: fit, "]": () => step(1), "[": () => step(-1), n: () => goTo(1), N: () => goTo(-1),
  "/": () => { $("search").focus(); $("search").select(); }, t: turn, "?": () => $("help").showModal(),
  Escape: () => { $("search").value = ""; search(); close(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target === $("search")) {
    if (event.key === "Enter") { goTo(event.shiftKey ? -1 : 1); event.preventDefault(); }
    if (event.key === "Escape") { KEYS.Escape(); view.focus(); }
    return;
  }
  const does = KEYS[event.key];
  if (does && !(event.target.tagName === "BUTTON" && event.key === "Enter")) { event.preventDefault(); does(event); }
});
$("search").addEventListener("input", search);
$("next").onclick = () => goTo(1);
$("previous").onclick = () => goTo(-1);
$("in").onclick = () => zoom(0.6);
$("out").onclick = () => zoom(1 / 0.6);
$("fit").onclick = fit;
$("theme").onclick = turn;
$("keys").onclick = () => $("help").showModal();

// ---------------------------------------------------------------- begin

function legend() {
  const foot = $("legend");
  foot.replaceChildren();
  const items = [["use", "in use (a colour for each thread or task)"], ["idle", "idle"], ["connect", "connecting"], ["check", "checked, found dead"],
    ["wait", "waits"], ["bad", "refused, or connect failed"], ["cancelled", "cancelled"], ["mark", "limits changed, drained, closed"]];
  for (const [name, text] of items) { const one = put(foot, "span"); put(one, "i").style.background = C[name]; put(one, "span", text); }
  for (const pool of pools) for (const note of pool.notes) put(foot, "span", `note: ${note}`, "note");
}
function refresh() { colours(); legend(); draw(); }
function about() {
  const events = pools.reduce((a, one) => a + one.line.filter((line, i) => rulesOf(one, i).length || !one.whats[one.events.what[i]][0].startsWith("(")).length, 0);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  $("about").textContent = `${day(0)} ${clock(0)} to ${clock(LAST)} (${zone}), ${lasting(LAST)}, ${many(events, "transition")}` + (pools.length > 1 ? `, ${pools.length} pools` : "");
}
try { const kept = localStorage.getItem("purepool theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* as above */ }
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
new ResizeObserver(() => { layout(); draw(); }).observe(view);
about();
refresh();
layout();
fit();
// For tests, and for who is curious: once all has its size.
const told = {pools, where, hit, zoom, show, fit, search, paint, view: () => [t0, t1]};
requestAnimationFrame(() => requestAnimationFrame(() => { window.timeline = told; }));
