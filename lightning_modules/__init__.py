"""One LightningModule per family, the command line, callbacks and tools.

The public names stand in `__init__.pyi`. Each loads on first use, which keeps `--help` free of
torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
