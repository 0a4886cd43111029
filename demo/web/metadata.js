// The metadata of an ONNX file, read from its protobuf encoding. ONNX Runtime Web does not hand it out.

const METADATA_PROPS = 14; // field of ModelProto; its entries have a key (1) and a value (2)
const LENGTH_DELIMITED = 2;

/** Fields of a protobuf message as [number, bytes or null], in order. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, factor = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 0x7f) * factor;
      factor *= 128;
    } while (byte & 0x80);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8), kind = tag % 8;
    if (kind === LENGTH_DELIMITED) {
      const length = varint();
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === 0) {
      varint();
    } else if (kind === 1 || kind === 5) {
      at += kind === 1 ? 8 : 4;
    } else {
      throw new Error("this is not an ONNX file");
    }
  }
}

/** What the toolkit wrote about a model: num_classes, class_names, size_hw, output, ... */
export function readMetadata(bytes) {
  const text = new TextDecoder();
  const found = {};
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA_PROPS) continue;
    const pair = Object.fromEntries(fields(entry));
    const key = text.decode(pair[1]);
    if (key.startsWith("yolox.")) found[key.slice(6)] = JSON.parse(text.decode(pair[2]));
  }
  if (!found.strides) throw new Error("the model was not exported by this toolkit: no metadata");
  return found;
}
