// The page: choose or drop a picture, see its boxes. `model.onnx` lies beside this file, or where
// `?model=` says; `?image=` names a picture to begin with.

import { detect, loadDetector } from "./detector.js";

const by = (id) => document.getElementById(id);
const canvas = by("picture"), threshold = by("threshold"), status = by("status");
const parameters = new URLSearchParams(location.search);
let detector = null, shown = null;

function say(text, failed = false) {
  status.textContent = text;
  status.className = failed ? "error" : "";
  document.body.dataset.state = failed ? "error" : document.body.dataset.state ?? "";
}

let turn = Promise.resolve();

/** Pictures are looked at one after the other: the model runs once at a time. */
function run(source) {
  turn = turn.then(() => look(source));
  return turn;
}

async function look(source) {
  document.body.dataset.state = "busy";
  say("Looking …");
  try {
    const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" });
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const picture = context.getImageData(0, 0, canvas.width, canvas.height);
    const found = await detect(detector, picture);
    shown = { bitmap, ...found };
    draw();
    document.body.dataset.state = "done";
  } catch (error) {
    say(`This picture cannot be used: ${error.message}`, true);
  }
}

function draw() {
  if (!shown) return;
  const context = canvas.getContext("2d");
  context.drawImage(shown.bitmap, 0, 0);
  const names = detector.info.class_names;
  const visible = shown.detections.filter((d) => d.score >= Number(threshold.value));
  const line = Math.max(canvas.width, canvas.height) / 320;
  context.lineWidth = line;
  context.font = `${Math.round(7 * line)}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const { box: [x1, y1, x2, y2], score, label } of visible.toReversed()) {
    const colour = `hsl(${(label * 222.5) % 360} 90% 55%)`;
    const text = `${names?.[label] ?? `class ${label}`} ${Math.round(100 * score)} %`;
    const plate = 9 * line, top = Math.max(y1 - plate, 0);
    context.strokeStyle = context.fillStyle = colour;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillRect(Math.max(x1, 0), top, context.measureText(text).width + 4 * line, plate);
    context.fillStyle = "black";
    context.fillText(text, Math.max(x1, 0) + 2 * line, top + line);
  }
  window.detections = shown.detections;
  say(`${visible.length} objects, ${Math.round(shown.milliseconds)} ms in the model`);
}

threshold.addEventListener("input", () => {
  by("threshold-value").textContent = Number(threshold.value).toFixed(2);
  draw();
});
by("file").addEventListener("change", (event) => event.target.files[0] && run(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.body.addEventListener(kind, (event) => {
    event.preventDefault();
    canvas.classList.toggle("drop", kind === "dragover");
    if (kind === "drop" && detector && event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
}

by("file").disabled = true;
try {
  detector = await loadDetector(parameters.get("model") ?? "model.onnx");
  const { num_classes: classes, size_hw: [height, width], precision } = detector.info;
  by("model").textContent = `${classes} classes, ${height} × ${width}, ${precision}`;
  by("file").disabled = false;
  document.body.dataset.state = "ready";
  if (parameters.has("image")) await run(await (await fetch(parameters.get("image"))).blob());
} catch (error) {
  by("model").textContent = "";
  say(`The model cannot be used: ${error.message}`, true);
}
