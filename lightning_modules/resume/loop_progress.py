"""State of the trainer's loops in a checkpoint, so that nothing is done twice or left out.

Lightning counts what is ready, started, processed and completed, and concludes from these numbers
where a resumed fit goes on. Some positions it cannot tell apart: a file that is written before a
validation, or within one, makes the resumed fit skip it, and one that is written after the last
batch of an epoch makes it skip the end of that epoch. Here the numbers are set so that they mean
one thing only.
"""

from typing import Any

from lightning.pytorch import Trainer

_BATCHES = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"
_COUNTS = ("ready", "started", "processed", "completed")


def at_step_boundary(trainer: Trainer) -> bool:
    """Return True if no gradient waits for the optimizer: a checkpoint holds everything."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready % trainer.accumulate_grad_batches == 0


def epoch_is_under_way(trainer: Trainer) -> bool:
    """Return True if an epoch has begun and not reached its end; a sanity check is before it."""
    epochs = vars(trainer.fit_loop.epoch_progress.current)
    return not trainer.sanity_checking and epochs["started"] > epochs["processed"]


def set_where_to_go_on(trainer: Trainer, fit_loop: dict[str, Any]) -> None:
    """Make the state of the loops mean the position of the trainer.

    Args:
        trainer: The trainer of a fit: after a training batch, in a validation, or between epochs.
        fit_loop: State of its loops in a checkpoint; changed in place.
    """
    if not epoch_is_under_way(trainer):
        _complete(fit_loop["epoch_progress"])
        return
    batches, validation = fit_loop[_BATCHES], fit_loop[_VALIDATION]
    loop = trainer.fit_loop.epoch_loop
    if trainer.validating:
        counts = validation["current"]
        ended = validation["is_last_batch"] and counts["completed"] == counts["ready"]
        if not ended:
            _begin_validation(validation)
        return
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is None:  # after the fit
        return
    if loop._should_check_val_fx(fetcher):
        _complete(batches)
        _begin_validation(validation)
    elif batches["is_last_batch"]:  # the end of the epoch is next
        _complete(batches)
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def begin_whole_epoch(trainer: Trainer) -> None:
    """Let a fit that resumes between two epochs begin the next like any other.

    With `max_steps`, Lightning takes every resumed epoch for one that was broken off. To be called
    when the training starts.
    """
    loop = trainer.fit_loop.epoch_loop
    assert hasattr(loop, "restarting"), "Lightning's loop tells otherwise whether it restarts"
    if not epoch_is_under_way(trainer):
        loop.restarting = False


def _complete(progress: dict[str, Any]) -> None:
    """Count the batch or epoch that is being ended as done with."""
    _check_counts(progress)
    for part in ("total", "current"):
        progress[part]["completed"] = progress[part]["processed"]


def _begin_validation(progress: dict[str, Any]) -> None:
    """Begin the validation anew: its first batch is started and not processed."""
    _check_counts(progress)
    assert "is_last_batch" in progress, "Lightning's progress tells the last batch otherwise"
    for part in ("total", "current"):
        progress[part] |= dict(zip(_COUNTS, (1, 1, 0, 0), strict=True))
    progress["is_last_batch"] = False


def _check_counts(progress: dict[str, Any]) -> None:
    """Check that the counts about to be set are those that Lightning will read."""
    for part in ("total", "current"):
        assert set(_COUNTS) <= progress[part].keys(), f"Lightning counts {sorted(progress[part])}"
