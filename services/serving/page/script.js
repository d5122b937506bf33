"use strict";
// Sends a picture to what is offered of /v1/detect and /v1/pose and draws the answers over it. Talks to its own origin only.

const LOWEST_SCORE = 0.1; // asked once; the slider then filters what came
const JOINT_SCORE = 0.2;
const HUES = ["#0b6e99", "#a3336a", "#2d7a3e", "#8a5a00", "#6a4fb6", "#b23a26", "#00747a", "#4f5b66"];
const POSE_HUES = ["#0a6a78", "#a04a08", "#7a3fa0", "#a3304b", "#2f6f3a", "#3d5aa8"];
const BONES = [
  ["left_ear", "left_eye"], ["left_eye", "nose"], ["nose", "right_eye"], ["right_eye", "right_ear"],
  ["left_shoulder", "right_shoulder"], ["left_shoulder", "left_elbow"], ["left_elbow", "left_wrist"],
  ["right_shoulder", "right_elbow"], ["right_elbow", "right_wrist"], ["left_shoulder", "left_hip"],
  ["right_shoulder", "right_hip"], ["left_hip", "right_hip"], ["left_hip", "left_knee"],
  ["left_knee", "left_ankle"], ["right_hip", "right_knee"], ["right_knee", "right_ankle"],
];
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const main = byId("main"), zone = byId("zone"), stage = byId("stage"), picture = byId("picture"), file = byId("file");
const maxBodyBytes = Number(document.body.dataset.maxBodyBytes);

const tasks = document.body.dataset.tasks.split(" ");
const shows = (task, layer) => tasks.includes(task) && byId(layer).checked;
let answers = { detections: [], persons: [] };
let timings = [];
let running = null;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function percent(score) {
  return `${Math.round(score * 100)} %`;
}

function complain(message, hint) {
  byId("alert-message").textContent = message;
  byId("alert-hint").textContent = hint;
  byId("alert").hidden = false;
}

// ---- is it ready? ----

async function watchHealth() {
  try {
    const response = await fetch("/health", { cache: "no-store" });
    const health = await response.json();
    const ready = health.status === "healthy";
    byId("status").dataset.state = health.status;
    byId("status-text").textContent = ready ? "Ready" : "The models are loading…";
    byId("models").textContent = health.models
      .map((model) => `${model.name} (${model.licence}, sha256 ${model.sha256.slice(0, 12)}…)`)
      .join(" · ");
    if (ready) return;
  } catch {
    byId("status").dataset.state = "starting";
    byId("status-text").textContent = "The service does not answer";
  }
  setTimeout(watchHealth, 1000);
}

// ---- ask ----

async function ask(task, blob, signal) {
  const form = new FormData();
  form.append("image", blob, "picture");
  const response = await fetch(`/v1/${task}?min_score=${LOWEST_SCORE}`, { method: "POST", body: form, signal });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error.message), { hint: answer.error.hint });
  return answer;
}

async function look(blob) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  byId("alert").hidden = true;
  byId("panel").hidden = true;
  answers = { detections: [], persons: [] };
  draw();
  if (blob.size > maxBodyBytes) {
    forget();
    complain("The picture is too large.", `It has ${megabytes(blob.size)}; the service takes up to ${megabytes(maxBodyBytes)}. Scale it down first.`);
    return;
  }
  show(blob);
  byId("working").hidden = false;
  try {
    const given = await Promise.all(tasks.map((task) => ask(task, blob, mine.signal)));
    if (running !== mine) return;
    for (const answer of given) Object.assign(answers, answer);
    timings = given.map((answer) => `${answer.model.name} ${Math.round(answer.milliseconds.model)} ms`);
    const size = given[0].picture;
    byId("bones").setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    answers.size = size;
    byId("panel").hidden = false;
    draw();
  } catch (error) {
    mine.abort();
    if (running !== mine) return;
    forget();
    complain(error.hint ? error.message : "The service could not be asked.", error.hint ?? "Check that it still runs, then try again.");
  } finally {
    if (running === mine) byId("working").hidden = true;
  }
}

function show(blob) {
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.alt = "The picture that you chose";
  stage.hidden = false;
  main.dataset.state = "shown";
}

function forget() {
  URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  picture.alt = "";
  stage.hidden = true;
  byId("panel").hidden = true;
  byId("working").hidden = true;
  byId("alert").hidden = true;
  main.dataset.state = "empty";
  file.value = "";
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0).replace(".0", "")} MiB`;
}

// ---- draw ----

function draw() {
  const lowest = Number(byId("score").value) / 100;
  const objects = shows("detect", "show-objects") ? answers.detections.filter((found) => found.score >= lowest) : [];
  const persons = shows("pose", "show-persons") ? answers.persons.filter((found) => found.score >= lowest) : [];
  const labels = [...new Set(answers.detections.map((found) => found.label))];
  byId("score-value").textContent = percent(lowest);
  byId("boxes").replaceChildren();
  byId("bones").replaceChildren();
  byId("findings").replaceChildren();
  for (const found of objects) {
    const hue = HUES[labels.indexOf(found.label) % HUES.length];
    list(found.label, found.score, hue, "object", drawBox(found, hue));
  }
  persons.forEach((found, index) => {
    const hue = POSE_HUES[index % POSE_HUES.length];
    list(persons.length > 1 ? `pose ${index + 1}` : "pose", found.score, hue, "pose", drawPerson(found, hue));
  });
  byId("summary").textContent = summary(objects.length, persons.length);
  byId("timing").textContent = timings.join(" · ");
}

function summary(objects, poses) {
  const parts = [];
  if (shows("detect", "show-objects")) parts.push(`${objects || "no"} ${objects === 1 ? "object" : "objects"}`);
  if (shows("pose", "show-persons")) parts.push(`${poses || "no"} ${poses === 1 ? "pose" : "poses"}`);
  const text = parts.join(" and ") || "nothing is shown";
  return text[0].toUpperCase() + text.slice(1);
}

function drawBox(found, hue) {
  const [x0, y0, x1, y1] = found.box;
  const { width, height } = answers.size;
  const box = make("div", "box");
  box.style.setProperty("--hue", hue);
  box.style.left = `${(100 * x0) / width}%`;
  box.style.top = `${(100 * y0) / height}%`;
  box.style.width = `${(100 * (x1 - x0)) / width}%`;
  box.style.height = `${(100 * (y1 - y0)) / height}%`;
  box.append(make("b", "", found.label));
  byId("boxes").prepend(box); // the surest last, so that no other covers its label
  return box;
}

function drawPerson(found, hue) {
  const points = new Map(found.keypoints.filter((point) => point.score >= JOINT_SCORE).map((point) => [point.name, point]));
  const person = document.createElementNS(SVG, "g");
  person.setAttribute("class", "person");
  person.style.setProperty("--hue", hue);
  const bones = BONES.filter(([from, to]) => points.has(from) && points.has(to));
  for (const className of ["bone-edge", "bone"]) {
    for (const [from, to] of bones) person.append(line(points.get(from), points.get(to), className));
  }
  for (const className of ["joint", "joint-core"]) {
    for (const point of points.values()) person.append(line(point, point, className));
  }
  byId("bones").append(person);
  return person;
}

function line(from, to, className) {
  const element = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: className })) {
    element.setAttribute(name, value);
  }
  return element;
}

function list(name, score, hue, kind, drawn) {
  const item = make("li", kind);
  const button = make("button");
  button.type = "button";
  button.style.setProperty("--hue", hue);
  const bar = make("span", "bar");
  const filled = make("i");
  filled.style.width = percent(score).replace(" ", "");
  bar.append(filled);
  bar.setAttribute("aria-hidden", "true");
  button.append(make("span", "dot"), make("span", "", name), make("span", "percent", percent(score)), bar);
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => point(drawn));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => point(null));
  item.append(button);
  byId("findings").append(item);
}

function point(drawn) {
  for (const element of stage.querySelectorAll("[data-pointed]")) element.removeAttribute("data-pointed");
  stage.toggleAttribute("data-pointing", drawn !== null);
  drawn?.setAttribute("data-pointed", "");
}

// ---- hands ----

file.addEventListener("change", () => file.files.length && look(file.files[0]));
byId("again").addEventListener("click", () => {
  forget();
  file.click();
});
for (const id of ["score", "show-objects", "show-persons"]) byId(id).addEventListener("input", draw);

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  zone.toggleAttribute("data-over", true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) zone.removeAttribute("data-over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.removeAttribute("data-over");
  const dropped = event.dataTransfer.files[0];
  if (dropped) look(dropped);
  else complain("That was not a file.", "Drop a picture from a folder, or choose one.");
});
document.addEventListener("paste", (event) => {
  const pasted = event.clipboardData.files[0];
  if (pasted) look(pasted);
});

byId("limit").textContent = megabytes(maxBodyBytes);
byId("layers").hidden = tasks.length < 2;
byId("curl").textContent = tasks
  .map((task) => `curl -F image=@picture.jpg ${location.origin}/v1/${task}${task === "pose" ? "?min_score=0.4" : ""}`)
  .join("\n");
watchHealth();
