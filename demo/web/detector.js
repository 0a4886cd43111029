// A detector: letterbox, run, and boxes in the picture's pixels.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { readMetadata } from "./metadata.js";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;

/** Load an ONNX file that was exported with `yolox export --nms`. */
export async function loadDetector(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const info = readMetadata(bytes);
  if (info.output !== "detections") throw new Error("export the model with --nms");
  if (!info.size_hw) throw new Error("export the model with a fixed size");
  const session = await ort.InferenceSession.create(bytes);
  return { info, session };
}

/** Detections of a picture (ImageData): [{ box: [x1, y1, x2, y2], score, label }], best first. */
export async function detect({ info, session }, picture) {
  const [height, width] = info.size_hw;
  const { tensor, ratio } = letterbox(picture, height, width, info.preprocessing.padding);
  const input = new ort.Tensor("float32", tensor, [1, 3, height, width]);
  const start = performance.now();
  const output = await session.run({ [session.inputNames[0]]: input });
  const milliseconds = performance.now() - start;
  return { detections: rows(output[session.outputNames[0]], ratio), milliseconds };
}

function rows(output, ratio) {
  const [, count, columns] = output.dims;
  const found = [];
  for (let row = 0; row < count; row++) {
    const [x1, y1, x2, y2, score, label] = output.data.subarray(row * columns, (row + 1) * columns);
    if (label < 0) break; // nothing follows the last detection
    found.push({ box: [x1, y1, x2, y2].map((v) => v / ratio), score, label });
  }
  return found;
}

/** Scale to fit, place at the top left on grey: [3, H, W] float, BGR, 0-255. */
export function letterbox(picture, height, width, padding) {
  const ratio = Math.min(height / picture.height, width / picture.width);
  const rowsUsed = Math.max(Math.floor(picture.height * ratio), 1);
  const columnsUsed = Math.max(Math.floor(picture.width * ratio), 1);
  const tensor = new Float32Array(3 * height * width).fill(padding);
  const across = weights(picture.width, columnsUsed), down = weights(picture.height, rowsUsed);
  const { data } = picture;
  for (let y = 0; y < rowsUsed; y++) {
    const [top, bottom, low] = down[y];
    for (let x = 0; x < columnsUsed; x++) {
      const [left, right, near] = across[x];
      const corners = [top * picture.width + left, top * picture.width + right,
        bottom * picture.width + left, bottom * picture.width + right];
      for (let channel = 0; channel < 3; channel++) {
        const [a, b, c, d] = corners.map((pixel) => data[4 * pixel + channel]);
        const upper = a + (b - a) * near, lower = c + (d - c) * near;
        const value = Math.round(upper + (lower - upper) * low);
        tensor[(2 - channel) * height * width + y * width + x] = value; // RGB to BGR
      }
    }
  }
  return { tensor, ratio };
}

/** Bilinear interpolation with pixel centres at halves: [one, next, weight of next] per pixel. */
function weights(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    const one = Math.floor(at);
    return [one, Math.min(one + 1, from - 1), at - one];
  });
}
