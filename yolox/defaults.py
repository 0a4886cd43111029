"""What options may be, and what they are by default, where torch is not needed to say it.

Commands list these in `--help` without importing what they choose from; the modules that do the
work take them from here, too.
"""

# training
LOGGERS = ("tensorboard", "wandb", "none")
TIMEOUT_MINUTES = 10.0  # of a distributed job: rank 0 computes the metrics alone, the others wait

# inference and evaluation
BACKENDS = ("torch", "compile", "onnxruntime", "openvino")
PROVIDER = "CPUExecutionProvider"  # of ONNX Runtime
CONF, NMS = 0.3, 0.3  # thresholds of score and IoU of YOLOX's demo command
SUBSETS = 200  # of each size, for intervals: more make the bias less random, hardly better

# exported files
FILE_BACKENDS = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}
OPSET = 18  # the oldest that torch.export writes; read by every ONNX Runtime since 1.14 (2023)
INPUT, OUTPUT = "images", "output"
FEWEST = 16  # calibration images; fewer say too little about the range of activations

# annotations: what is read, and what is written, too
FORMATS = ("coco", "voc", "yolo", "labelme", "road-json", "tfrecord", "cvat", "openimages")
WRITABLE = FORMATS[:6]

# compression
EVALUATE = "evaluate"  # after all stages: measures what they wrote, and writes the report
STAGE_NAMES = (
    *("mask", "plan", "prune", "adapt", "label", "recover", "merge", "control", "int8"),
    EVALUATE,
)
MASK_CRITERIA = ("magnitude", "layer", "lamp", "activation", "output")
PRUNE_CRITERIA = ("l1", "l2", "lamp", "bn_scale", "taylor", "mask", "output", "random")
NEED_IMAGES = ("activation", "output")  # criteria that need calibration images
NEED_GRADIENTS = ("taylor",)  # and the gradient of the loss on training images
ENCODINGS = ("bitmask", "packed", "coo")
VALUE_TYPES = ("fp32", "fp16")
