"""StopNotice: notice of a run that was stopped with Ctrl-C."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.console import say


class StopNotice(Callback):
    """Advice on how to go on after Ctrl-C, which Lightning turns into a plain exit."""

    def __init__(self) -> None:
        self.interrupted = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remember that it was the user, and name the checkpoint to go on from."""
        if not isinstance(exception, KeyboardInterrupt):
            return
        self.interrupted = True
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if trainer.state.fn != "fit":
            say("stopped")
        elif last.exists():
            say(f"stopped; go on with --ckpt_path last, from {last}")
        else:
            say("stopped; nothing was saved yet")
