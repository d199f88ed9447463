"""The first screen of `fit --help`, `validate --help` and `test --help`, shown without torch."""

import re
from collections.abc import Sequence

from lightning_modules.console import fail

TOPICS = {
    "data": "datasets, frames, crops, augmentation, loading, test views",
    "model": "networks, their own options, starting weights",
    "training": "optimizer, learning rate, schedule, batch normalization",
    "trainer": "epochs, devices, precision, loggers: Lightning's Trainer",
    "run": "name, folder and checkpoints of a run",
}
"""Topics of `--help=TOPIC`, and what each is about."""

ALL = "all"
"""The word for every option of every part, as Lightning lists them."""

_FIT = """\
usage: kinetoscope fit --config FILE [--config FILE ...] [--KEY VALUE ...]

Train a network, and validate it as it learns. Configs are layers: later ones
win key by key, and options win over all of them.

  kinetoscope fit --config quickstart
  kinetoscope fit --config data/video_folder --config model/tsm_r50 \\
      --data.root my_videos --trainer.max_epochs 50 --run.name mine
  kinetoscope fit --config recipe/tsm_kinetics400 --config trainer/gpu \\
      --trainer.devices 8 --data.root k400
  kinetoscope fit --config quickstart --run.version 0 --ckpt_path last

The run
  --config FILE            a layer: a file, or a name of `kinetoscope configs`
  --run.name NAME          its folder: runs/NAME/0, then 1, ...
  --ckpt_path last         go on with the run that was stopped
  --seed_everything N      the seed of every random choice (42)
  --print_config           show what all layers make together, and stop
The data
  --data CLASS             a dataset, such as UCF101DataModule
  --data.root DIR          where it is
  --data.sampling.num_frames N, --data.sampling.frame_stride N
                           a clip: N frames, one in so many
  --data.sampling.num_segments N
                           or one frame from each of N parts of the video
  --data.crops.size N      side of a clip, in pixels
  --data.loading.batch_size N, --data.loading.num_workers N
                           videos at a time on a device; loader processes
The network
  --model CLASS            a family, such as CoSTModule
  --model.network NAME     one of `kinetoscope models`, or timm:NAME and the like
  --model.init_from imagenet|library|FILE
                           weights to start from (`kinetoscope prepare` fetches)
The training
  --trainer.max_epochs N   when it ends
  --model.optimization.lr X, --model.optimization.optimizer sgd|adamw
  --trainer.accelerator cpu|gpu|auto, --trainer.devices N
  --trainer.precision bf16-mixed
"""

_VALIDATE = """\
usage: kinetoscope validate --config FILE [--config FILE ...] --ckpt_path FILE [--KEY VALUE ...]

Clip accuracy of a checkpoint on the validation videos. The checkpoint decides
the network; configs and options say which data.

  kinetoscope validate --config quickstart --ckpt_path best

  --config FILE            a layer: a file, or a name of `kinetoscope configs`
  --ckpt_path FILE|best|last
                           a file, or that of the newest run of --run.name
  --data.root DIR          where the videos are
  --data.loading.batch_size N, --data.loading.num_workers N
                           videos at a time on a device; loader processes
  --trainer.accelerator cpu|gpu|auto, --trainer.devices N
"""

_TEST = """\
usage: kinetoscope test --config FILE [--config FILE ...] --ckpt_path FILE [--KEY VALUE ...]

Video accuracy of a checkpoint under a stated protocol, with a score file that
`kinetoscope compare` reads. The checkpoint decides the network; configs and
options say which data, and how many views of each video.

  kinetoscope test --config quickstart --ckpt_path best
  kinetoscope test --config runs/mine/0/config.yaml \\
      --ckpt_path runs/mine/0/checkpoints/best.ckpt --data.evaluation.num_clips 10

  --config FILE            a layer: a file, or a name of `kinetoscope configs`
  --ckpt_path FILE|best|last
                           a file, or that of the newest run of --run.name
  --out DIR                where scores and tables go (the checkpoint's run folder)
  --data.root DIR          where the videos are
  --data.evaluation.num_clips N, --data.evaluation.num_crops 1|3|10|full
                           views of a video, whose scores are averaged
  --data.evaluation.probe NAME
                           change the clips: what does the network look at?
  --data.evaluation.corruptions all
                           a series over corrupted clips
  --data.loading.batch_size N, --data.loading.num_workers N
                           videos at a time on a device; loader processes
  --trainer.accelerator cpu|gpu|auto, --trainer.devices N
"""

_MORE = """\
More
{topics}
  --help=WORD              every key about a word, such as --help=crop
  --help=all               every option of every part, as Lightning lists them
  --data.help CLASS, --model.help CLASS
                           every argument of a dataset or a family
"""

SCREENS = {"fit": _FIT, "validate": _VALIDATE, "test": _TEST}
"""The first screens, by command."""


def first_screen(command: str) -> str:
    """Return the first screen of a command's help.

    Args:
        command: A key of `SCREENS`.
    """
    topics = "\n".join(f"  {f'--help={name}':24} {text}" for name, text in TOPICS.items())
    return SCREENS[command] + _MORE.format(topics=topics)


def asked_topic(words: Sequence[str]) -> str | None:
    """Find what the words of a command ask help for.

    Args:
        words: Options.

    Returns:
        None where they ask for none, an empty word for the first screen, else a topic or any word.
    """
    for index, word in enumerate(words):
        option, equals, topic = word.partition("=")
        if option not in ("--help", "-h"):
            continue
        following = words[index + 1] if index + 1 < len(words) else ""
        topic = topic if equals else following
        if equals and not re.fullmatch(r"[\w.]+", topic):
            fail(f"{word} names no topic; give one of {', '.join([*TOPICS, ALL])}, or a word")
        return "" if topic.startswith("-") else topic
    return None
