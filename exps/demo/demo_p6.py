"""A small P6 detector on drawn shapes: `make demo`, or step by step

`python datasets/make_synthetic.py --out datasets/demo --size 128 --train 400 --val 120 --classes 4`
then `python tools/train.py -f exps/demo/demo_p6.py -b 8`

What to expect is in README.md, how long it takes in docs/results.md.
"""

from yolox.exp.p6 import P6Exp


class Exp(P6Exp):
    def __init__(self) -> None:
        super().__init__()
        self.data_dir = "datasets/demo"
        self.num_classes = 4
        self.channels = (256, 384, 512, 512)
        self.depth = 0.33
        self.width = 0.25
        self.input_size = (128, 128)
        self.test_size = (128, 128)
        self.multiscale_range = 0
        self.data_num_workers = 1
        # Objects are whole and few, and the run is short: no mosaic, and AdamW instead of SGD.
        self.mosaic_prob = 0.0
        self.enable_mixup = False
        self.optimizer = "adamw"
        self.basic_lr_per_img = 0.004 / 8
        self.weight_decay = 0.02
        self.ema_decay = 0.99
        self.ema_warmup = 50.0
        self.max_epoch = 16
        self.warmup_epochs = 1
        self.no_aug_epochs = 3
        self.eval_interval = 8
        self.print_interval = 30
        self.save_history_ckpt = False
