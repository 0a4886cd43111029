"""What the YOLOX-nano variants on Pascal VOC 2007 share: their data and the source's training."""

from yolox.exp.yolox import Exp


class VocNanoExp(Exp):
    """416 x 416, 20 classes, 300 epochs of which the last 15 without augmentation."""

    def __init__(self) -> None:
        super().__init__()
        self.data_dir = "datasets/VOCdevkit/VOC2007"
        self.train_ann, self.val_ann = "trainval", "test"
        self.num_classes = 20
        self.depth, self.width, self.depthwise = 0.33, 0.25, True
        self.input_size = self.test_size = (416, 416)
        self.random_size = (10, 20)
        self.mosaic_scale = (0.5, 1.5)
        self.mosaic_prob = 0.5
        self.enable_mixup = False
        self.partial_ckpt = True  # `-c yolox_nano.pth` starts every variant
