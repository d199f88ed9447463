"""Plain PyTorch networks for video action recognition; no Lightning, no files, no video.

The public names stand in `__init__.pyi`. Each loads on first use, so that `import models` does not
import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
