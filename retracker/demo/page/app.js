// The page: which video is open, what each button does, and what is to be seen.

import { call, download, own, upload, use } from "/page/api.js";
import { Player } from "/page/player.js";
import { Points } from "/page/points.js";
import { Stage } from "/page/stage.js";
import { Strip } from "/page/strip.js";
import { Table } from "/page/table.js";
import { Tracking } from "/page/tracking.js";
import { Welcome } from "/page/welcome.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 6000;
const MEGABYTE = 2 ** 20;
const JUMP = 10; // frames

let clip = null; // what the server says of the open video
let points = new Points(0);
let selected = null;
let shown = 0; // the frame on the canvas: its picture comes after it is asked for

const stage = new Stage($("stage"), {
  add: (xy, t) => change(() => own("POST", "/points", { t, points: [[xy.x, xy.y]] })),
  correct: (id, xy, t) => correct(id, xy, t),
  select: (id) => select(id, { reveal: true }),
  look: (xy) => { $("readout").textContent = xy ? `x ${xy.x.toFixed(1)}   y ${xy.y.toFixed(1)}` : ""; },
  zoomed: (zoom) => { $("zoom-fit").textContent = `${Math.round(100 * zoom)} %`; },
});
const player = new Player({
  wanted: (t) => {
    $("scrubber").value = t;
    if (document.activeElement !== $("frame")) $("frame").value = t;
  },
  show: (picture, t) => {
    shown = t;
    render(picture);
  },
  state: (playing) => {
    document.body.classList.toggle("playing", playing);
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  },
  failed: (error) => tell(error.message, { bad: true }),
});
const strip = new Strip($("strip"), (t) => go(t));
const table = new Table($("rows"), {
  select: (id) => select(id === selected ? null : id),
  remove: (id) => change(() => own("DELETE", `/points/${id}`)),
});
const tracking = new Tracking({
  found: (answers) => {
    for (const found of answers) points.record(found);
    if ($("follow").checked && !player.playing) player.seek(answers.at(-1).t);
    render();
  },
  ended: (progress) => {
    if (progress.condition === "failed") tell(progress.error, { bad: true });
    if (progress.num_frames !== clip.num_frames) reopen();
    render();
  },
});

const welcome = new Welcome({
  file: (file) => openFile(file),
  example: () => {
    welcome.waitFor("Rendering an example", "this takes some seconds");
    open(() => call("POST", "/api/example"));
  },
});

// ---- the video

async function open(load) {
  try {
    const state = await load();
    const before = clip?.session;
    show(state);
    if (before) call("DELETE", `/api/sessions/${before}`).catch(() => {});
  } catch (error) {
    welcome.invite();
    if (clip) welcome.close();
    tell(error.message, { bad: true });
  }
}

function show(state) {
  use(state.session);
  player.pause();
  player.open(state.num_frames, state.fps);
  tracking.stop();
  [clip, points, selected] = [state, new Points(state.num_frames), null];
  history.replaceState(null, "", `#${state.session}`);
  welcome.close();
  document.title = `${state.name} – ReTracker`;
  $("clip-name").textContent = state.name;
  $("clip-name").title = state.name;
  $("clip-facts").textContent =
    `${state.width} × ${state.height} px · ${state.num_frames} frames · ${Number(state.fps.toFixed(2))} frames/s`;
  $("last").textContent = `/ ${state.num_frames - 1}`;
  $("frame").max = $("scrubber").max = state.num_frames - 1;
  stage.open(state.width, state.height);
  take(state);
  player.seek(0);
  tracking.watch(state.job, state.num_frames);
}

async function reopen() {
  show(await own("GET"));
}

async function openFile(file) {
  const most = welcome.hello.max_upload_mb;
  if (file.size > most * MEGABYTE) {
    tell(`${file.name} is larger than ${most} MB, which is the limit here`, { bad: true });
    return;
  }
  const wait = (share) => welcome.waitFor(share < 1 ? "Uploading" : "Reading the video", file.name, { share });
  wait(0);
  await open(() => upload(file, wait));
}

// Somebody wants this frame: no film, no tracking may take it away again.
function go(t) {
  player.pause();
  if (tracking.active) $("follow").checked = false;
  return player.seek(t);
}

// ---- points

async function change(ask) {
  if (tracking.active) {
    tell("Cancel tracking before you change points");
    return null;
  }
  try {
    const reply = await ask();
    const changed = take(reply);
    render();
    return changed;
  } catch (error) {
    tell(error.message, { bad: error.status !== 409 });
    return null;
  }
}

function take(reply) {
  const count = points.map.size;
  const changed = points.take(reply);
  if (!points.get(selected)) selected = null;
  if (changed.length === 1 && points.map.size === count + 1) selected = changed[0];
  table.list(points.list);
  if (selected !== null) table.reveal(selected);
  return changed;
}

async function correct(id, { x, y }, t) {
  const again = points.get(id).count > 1;
  const changed = await change(() => own("PUT", `/points/${id}`, { t, xy: [x, y] }));
  if (changed && again) tell(`Point ${id} is put right in frame ${t}: Track goes on from there`);
}

function select(id, { reveal = false } = {}) {
  selected = id;
  if (reveal && id !== null) table.reveal(id);
  render();
}

async function startTracking() {
  if (tracking.active || $("track").disabled) return;
  player.pause();
  try {
    tracking.watch(await own("POST", "/track", { backward: $("backward").checked }), clip.num_frames);
  } catch (error) {
    tell(error.message, { bad: error.status !== 409 });
  }
  render();
}

async function save(button) {
  const words = button.textContent;
  button.disabled = true;
  button.textContent = "…";
  try {
    await download(button.dataset.kind);
  } catch (error) {
    tell(error.message, { bad: true });
  }
  button.textContent = words;
  render();
}

// ---- what is to be seen

function render(picture) {
  const list = points.list;
  const look = { points: list, selected, t: shown };
  stage.show(picture, {
    ...look, trail: Number($("trail").value), hidden: $("hidden").checked, locked: tracking.active,
  });
  strip.show({ ...look, numFrames: clip?.num_frames ?? 1 });
  table.show(list, shown, selected, tracking.active);
  const chosen = points.get(selected);
  $("strip-label").textContent = chosen
    ? `confidence of #${chosen.id}` : list.length ? "mean confidence of all points" : "";
  $("count").textContent = list.length || "";
  $("no-points").hidden = list.length > 0;
  const open = points.numOpen($("backward").checked);
  $("track").textContent = open ? `Track ${open === 1 ? "1 point" : `${open} points`}` : list.length ? "All tracked" : "Track";
  $("track").disabled = !open || tracking.active;
  $("track").hidden = tracking.active;
  $("cancel").hidden = !tracking.active;
  for (const id of ["grid", "undo", "clear", "backward"]) $(id).disabled = !clip || tracking.active;
  for (const button of document.querySelectorAll("#downloads button")) {
    button.disabled = !list.length || button.textContent === "…";
  }
}

let fading = 0;
function tell(text, { bad = false } = {}) {
  $("toast").textContent = text;
  $("toast").className = bad ? "bad" : "";
  clearTimeout(fading);
  fading = setTimeout(() => { $("toast").textContent = ""; }, TOAST_MS);
}

// ---- hands on

const keys = {
  ArrowLeft: (event) => go(player.wanted - (event.shiftKey ? JUMP : 1)),
  ArrowRight: (event) => go(player.wanted + (event.shiftKey ? JUMP : 1)),
  Home: () => go(0),
  End: () => go(clip.num_frames),
  " ": () => player.toggle(),
  Delete: () => selected !== null && change(() => own("DELETE", `/points/${selected}`)),
  Escape: () => select(null),
  t: () => startTracking(),
  g: () => $("grid").click(),
  "+": () => stage.zoomBy(1.5),
  "-": () => stage.zoomBy(1 / 1.5),
  0: () => stage.fit(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox])");
  const pressing = event.key === " " && event.target.matches("button, input");
  if (!clip || typing || pressing || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") $("undo").click();
  else if (event.ctrlKey || event.metaKey || !keys[event.key]) return;
  else keys[event.key](event);
  event.preventDefault();
});

const clicks = {
  back: () => go(player.wanted - 1),
  forth: () => go(player.wanted + 1),
  play: () => player.toggle(),
  grid: () => change(() => own("POST", "/points", { t: shown, grid: Number($("grid-size").value) })),
  undo: () => change(() => own("POST", "/undo")),
  clear: () => change(() => own("DELETE", "/points")),
  track: startTracking,
  cancel: () => own("POST", "/cancel").catch((error) => tell(error.message, { bad: true })),
  "zoom-in": () => stage.zoomBy(1.5),
  "zoom-out": () => stage.zoomBy(1 / 1.5),
  "zoom-fit": () => stage.fit(),
};
for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
for (const button of document.querySelectorAll("#downloads button")) button.addEventListener("click", () => save(button));
for (const id of ["hidden", "backward"]) $(id).addEventListener("change", () => render());
$("trail").addEventListener("input", () => {
  $("trail-length").textContent = $("trail").value;
  render();
});
$("scrubber").addEventListener("input", () => go($("scrubber").value));
$("frame").addEventListener("change", () => go($("frame").value));

async function start() {
  welcome.invite();
  render();
  try {
    welcome.hello = await call("GET", "/api/hello");
    welcome.invite();
    const key = location.hash.slice(1) || welcome.hello.session;
    if (!key) return;
    use(key);
    show(await own("GET"));
  } catch (error) {
    if (error.status !== 404) tell(error.message, { bad: true });
    history.replaceState(null, "", location.pathname);
  }
}

start();
