"""Fine-tune of YOLOX-M-P6 (phase 2 of the source system), with the masks of the checkpoint if any.

`python tools/train.py -f exps/p6/yolox_m_p6_tune.py -d 4 -b 64 --fp16 -c mask.pth`
Starts from the phase-1 epoch-280 checkpoint (or a masked one); 20 epochs, mosaic in the first 5."""

from yolox.exp.p6 import P6Exp


class Exp(P6Exp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0.67
        self.width = 0.75
        self.max_epoch = 20
        self.warmup_epochs = 1
        self.no_aug_epochs = 15
        self.basic_lr_per_img = 0.001 / 64.0
        self.eval_interval = 1
