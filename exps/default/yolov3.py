"""YOLOv3, with SPP and YOLOX's head, on COCO:

`python tools/train.py -n yolov3 -d 8 -b 64 --fp16`
"""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "darknet53"
        self.act = "lrelu"
