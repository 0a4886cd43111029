"""The experiment of a CenterNet."""

from yolox.exp.base import BaseExp
from yolox.exp.options import options_of
from yolox.families.centernet import CenterNetLoss, CenterNetSpec


@options_of(CenterNetSpec)
class CenterNetExp(BaseExp):
    """On VOC 2007, 512 x 512: Adam, 50 epochs of which the last ten with a tenth of the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.data_dir = "datasets/VOCdevkit/VOC2007"
        self.train_ann, self.val_ann = "trainval", "test"
        self.num_classes = 20
        self.input_size = self.test_size = (512, 512)
        self.multiscale_range = 0
        self.mosaic_prob, self.enable_mixup = 0.5, False
        self.mosaic_scale = (0.5, 1.5)
        self.optimizer, self.weight_decay = "adam", 0.0
        self.basic_lr_per_img = 2.5e-4 / 16
        self.scheduler, self.milestones = "multistep", (40,)
        self.max_epoch, self.warmup_epochs, self.no_aug_epochs = 50, 1, 5
        self.nmsthre, self.multi_class, self.max_detections = 1.0, True, 100  # peaks are enough

    def detector_spec(self) -> CenterNetSpec:
        """How to build the dense architecture."""
        return self.make(CenterNetSpec)

    def get_criterion(self) -> CenterNetLoss:
        """A fresh criterion."""
        return CenterNetLoss(self.detector_spec().stride)
