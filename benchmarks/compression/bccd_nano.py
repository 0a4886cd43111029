"""YOLOX-Nano fine-tuned on BCCD blood cells (205 images, 3 classes) from weights trained on COCO.

`python tools/train.py -f benchmarks/compression/bccd_nano.py -c yolox_nano.pth -b 8 data_dir BCCD`,
where BCCD is the folder that `datasets/voc_to_coco.py` made. Official YOLOX reaches AP 0.585 with
these settings; what this toolkit reaches is in `benchmarks/README.md`.
"""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 3
        self.depth = 0.33
        self.width = 0.25
        self.depthwise = True
        self.input_size = (320, 320)
        self.test_size = (320, 320)
        self.random_size = (8, 12)
        self.data_num_workers = 1
        self.mosaic_prob = 0.5
        self.mosaic_scale = (0.5, 1.5)
        self.enable_mixup = False
        self.basic_lr_per_img = 0.01 / 16
        self.max_epoch = 15
        self.warmup_epochs = 1
        self.no_aug_epochs = 3
        self.eval_interval = 5
        self.test_conf = 0.001
        self.save_history_ckpt = False
