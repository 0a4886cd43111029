"""What the short runs of `exps/demo` have in common."""

from yolox.exp.base import BaseExp


def on_shapes(exp: BaseExp) -> None:
    """Make an experiment one on the drawn shapes of `make demo`: minutes on a CPU."""
    exp.data_dir, exp.num_classes = "datasets/demo", 4
    exp.train_ann, exp.val_ann = "instances_train2017.json", "instances_val2017.json"
    exp.input_size = exp.test_size = (128, 128)
    exp.multiscale_range = 0
    exp.data_num_workers = 1
    # Objects are whole and few, and the run is short: no mosaic, and AdamW instead of SGD.
    exp.mosaic_prob, exp.enable_mixup = 0.0, False
    exp.optimizer, exp.weight_decay = "adamw", 0.02
    exp.ema_decay, exp.ema_warmup = 0.99, 50.0
    exp.max_epoch, exp.warmup_epochs, exp.no_aug_epochs = 16, 1, 3
    exp.eval_interval, exp.print_interval = 8, 30
    exp.save_history_ckpt = False
