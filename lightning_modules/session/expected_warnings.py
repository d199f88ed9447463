"""Warnings of libraries that a fit, a validation or a test expects, and lines that nobody needs."""

import logging
import warnings

EXPECTED = {
    "Be aware that when using `ckpt_path`": "a test needs none of the callbacks of a fit",
    "Total length of `list` across ranks is zero": "no validation split, which `setup` has said",
    "Found .* in eval mode at the start of training": "frozen batch normalization is meant to be",
    ".*treespec, LeafSpec.*": "not ours: Lightning uses a deprecated name",
    "You're resuming from a checkpoint that ended before": "the DataModule keeps the position",
    "The number of training batches .* is smaller than the logging": "it counts on over epochs",
    "Checkpoint directory .* exists and is not empty": "a resumed fit goes on in its own folder",
}
"""Patterns of messages, with the reason why each is expected."""


NOISE = ("Tip: For seamless", "`Trainer.fit` stopped: `max_epochs=", "stopped: `max_steps=")
"""Parts of lines of Lightning that are not printed: advertisements of its makers' services, and the
end that was announced at the start; this one would be written across the progress bar."""


def ignore_expected_warnings() -> None:
    """Ignore them in this process; for commands, which have it to themselves."""
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_noise)


def _is_no_noise(record: logging.LogRecord) -> bool:
    return not any(part in record.getMessage() for part in NOISE)
