// Takes what the server sends over one websocket and shows it. Texts are set as text, never as HTML.

import { BirdsEye } from "./birdseye.js";
import { STAGES, drawStrip, percentile } from "./strip.js";

const MAX_THOUGHTS = 240, MAX_LINES = 60, OLD_PLAN_MS = 3000, OLD_PICTURE_MS = 2500, AGAIN_MS = 1500;
const byId = (id) => document.getElementById(id);
const birdsEye = new BirdsEye(byId("birdseye"));
let socket = null, thoughts = [], lastNumber = 0, cameras = new Map(), seeking = false, standing = null;
let stripPending = false, plan = null, planAt = 0;

function make(tag, content = "", className = "") {
  const element = document.createElement(tag);
  if (content) element.textContent = content;
  if (className) element.className = className;
  return element;
}

const handlers = {
  hello(message) {
    document.title = message.title;
    birdsEye.speedScale = message.speed_scale;
    byId("scale").style.background = `linear-gradient(90deg, ${message.speed_scale.map((s) => s[1]).join(", ")})`;
    byId("fast").textContent = `${message.speed_scale[message.speed_scale.length - 1][0]} m/s`;
  },

  cameras(message) {
    const frame = byId("cameras");
    for (const figure of cameras.values()) URL.revokeObjectURL(figure.image.src);
    cameras = new Map();
    frame.replaceChildren();
    if (!message.names.length) frame.append(make("p", "No camera or overlay topic yet …", "hint"));
    for (const name of message.names) {
      const figure = make("figure"), image = make("img"), caption = make("figcaption", name.replace("_", " "));
      image.alt = "";
      image.dataset.camera = name;
      figure.append(image, caption);
      frame.append(figure);
      cameras.set(name, { figure, image, at: 0, busy: false });
    }
  },

  plan(message) {
    birdsEye.setPlan(message);
    const chip = byId("status");
    plan = message;
    planAt = performance.now();
    chip.textContent = message.status;
    chip.style.background = message.colour;
    byId("now").style.borderColor = message.colour;
    byId("engaged").textContent = message.engaged ? "engaged" : "not engaged";
    byId("instruction").textContent = message.instruction ? `“${message.instruction}”` : "";
    byId("model").textContent = message.model;
  },

  pose(message) {
    birdsEye.setPose(message);
    byId("speed").textContent = `${(3.6 * message.speed).toFixed(0)} km/h`;
  },

  map(message) { birdsEye.setMap(message); },

  actors(message) { birdsEye.setActors(message); },

  thought(message) {
    if (message.number <= lastNumber) return;
    lastNumber = message.number;
    thoughts.push(message);
    if (thoughts.length > MAX_THOUGHTS) thoughts.shift();
    showThoughts();
  },

  thoughts(message) {
    thoughts = [];
    lastNumber = 0;
    for (const item of message.items) {
      thoughts.push(item);
      lastNumber = item.number;
    }
    showThoughts();
  },

  diagnostics(message) {
    const rows = byId("rows");
    const open = new Set([...rows.querySelectorAll("details[open]")].map((row) => row.dataset.name));
    const counts = {};
    rows.replaceChildren(...message.rows.map((row) => {
      counts[row.level] = (counts[row.level] || 0) + 1;
      const details = make("details"), summary = make("summary"), list = make("dl");
      details.dataset.name = row.name;
      details.open = open.has(row.name);
      const name = make("span", row.name.replace(/^alpamayo\//, ""), "name");
      summary.append(make("span", "", `dot ${row.level}`), name, make("span", row.message, "text"));
      for (const [key, value] of Object.entries(row.values)) list.append(make("dt", key), make("dd", value || "–"));
      details.append(summary, list);
      return details;
    }));
    byId("worst").textContent = Object.entries(counts).map(([level, n]) => `${n} ${level}`).join(", ");
  },

  jump() {
    thoughts = [];
    plan = null;
    birdsEye.forget();
    showThoughts();
  },

  pulse(message) {
    standing = message.playback;
    byId("mode").textContent = standing ? "RECORDING" : "LIVE";
    byId("player").hidden = !standing;
    if (standing) showPlayback();
    const skipped = message.replaced + message.dropped;
    const slow = skipped ? `, ${skipped} skipped for slow pages` : "";
    const odd = message.problem ? `, not shown: ${message.problem}` : "";
    byId("foot").textContent = `${message.clients} ${message.clients === 1 ? "page" : "pages"}${slow}${odd}`;
    const now = performance.now();
    if (plan && now - planAt > OLD_PLAN_MS && (!standing || standing.state === "playing")) {
      // Nobody is to take the last plan for the present one.
      const chip = byId("status");
      chip.textContent = `${plan.status}, ${((now - planAt) / 1000).toFixed(0)} s ago`;
      chip.style.background = "var(--stale)";
    }
    for (const camera of cameras.values()) camera.figure.classList.toggle("old", now - camera.at > OLD_PICTURE_MS);
  },

  refused(message) { byId("foot").textContent = message.why; },
};

function showThoughts() {
  const last = thoughts[thoughts.length - 1];
  byId("now").textContent = last ? last.text || last.reason || "(no words)" : "Waiting for a plan …";
  byId("why").textContent = last && last.text && last.reason ? last.reason : "";
  const lines = [];
  for (const thought of thoughts) {
    const text = thought.text || `${thought.status}: ${thought.reason}`;
    const former = lines[lines.length - 1];
    if (former && former.text === text) former.times += 1;
    else lines.push({ text, times: 1, t0: thought.t0 });
  }
  const end = last ? last.t0 : 0;
  byId("before").replaceChildren(...lines.slice(0, -1).reverse().slice(0, MAX_LINES).map((line) => {
    const item = make("li");
    item.append(make("time", `${(line.t0 - end).toFixed(1)} s`), make("span", line.text));
    if (line.times > 1) item.append(make("b", `${line.times} plans`));
    return item;
  }));
  const known = thoughts.filter((thought) => thought.total_ms > 0).map((thought) => thought.total_ms);
  byId("figures").textContent = known.length
    ? `newest ${known[known.length - 1].toFixed(0)} ms, median ${percentile(known, 0.5).toFixed(0)}, `
      + `99 % below ${percentile(known, 0.99).toFixed(0)}`
    : thoughts.length ? "this planner tells no times" : "";
  redrawStrip();
}

function redrawStrip() {
  if (stripPending) return;
  stripPending = true;
  requestAnimationFrame(() => { stripPending = false; drawStrip(byId("strip"), thoughts); });
}

function showPlayback() {
  const whole = standing.end - standing.start, now = standing.now - standing.start;
  byId("play").textContent = standing.state === "playing" ? "❚❚" : "▶";
  byId("clock").textContent = `${now.toFixed(1)} / ${whole.toFixed(1)} s`;
  if (!seeking) byId("seek").value = whole > 0 ? 1000 * now / whole : 0;
  const rate = String(standing.rate), select = byId("rate");
  if (document.activeElement !== select) {
    if (![...select.options].some((option) => option.value === rate)) {
      const option = make("option", `${rate}×`);
      option.value = rate;
      select.append(option);
    }
    select.value = rate;
  }
}

function showPicture(data) {
  const length = new DataView(data).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const camera = cameras.get(head.camera);
  if (!camera || camera.busy) return;  // a browser too slow to decode skips, too
  camera.busy = true;
  const url = URL.createObjectURL(new Blob([new Uint8Array(data, 4 + length)], { type: head.type }));
  const former = camera.image.src;
  const done = () => { camera.busy = false; if (former) URL.revokeObjectURL(former); };
  camera.image.onload = () => { camera.at = performance.now(); camera.figure.classList.remove("old"); done(); };
  camera.image.onerror = done;
  camera.image.src = url;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { byId("link").classList.add("on"); };
  socket.onmessage = (event) => {
    if (typeof event.data !== "string") { showPicture(event.data); return; }
    const message = JSON.parse(event.data);
    if (handlers[message.kind]) handlers[message.kind](message);
  };
  socket.onclose = () => {
    byId("link").classList.remove("on");
    byId("foot").textContent = "connection lost; trying again …";
    setTimeout(connect, AGAIN_MS);
  };
}

function ask(request) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(request));
}

byId("play").onclick = () => standing && ask({ playing: standing.state !== "playing" });
byId("rate").onchange = (event) => ask({ rate: Number(event.target.value) });
byId("seek").oninput = () => { seeking = true; };
byId("seek").onchange = (event) => {
  seeking = false;
  ask({ seek: standing.start + (standing.end - standing.start) * event.target.value / 1000 });
};
byId("closer").onclick = () => birdsEye.zoom(0.75);
byId("farther").onclick = () => birdsEye.zoom(1 / 0.75);
byId("birdseye").onwheel = (event) => { event.preventDefault(); birdsEye.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15); };
for (const [name, colour] of STAGES) {
  const label = make("span", name), swatch = make("i");
  swatch.style.background = colour;
  label.prepend(swatch);
  byId("stages").append(label);
}
new ResizeObserver(redrawStrip).observe(byId("strip"));
connect();
