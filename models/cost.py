"""CoST: one 2D kernel bank looks at a clip along three pairs of axes.

Li, Zhong, Xie, Pu, Collaborative Spatiotemporal Feature Learning for Video Action Recognition,
CVPR 2019 (arXiv 1903.01197). Equations 1 and 2: the bank w is convolved over the H-W, T-W and T-H
planes, and the three views are added with coefficients that sum to 1 in each output channel.
CoST(a), figure 4, learns the coefficients; CoST(b), equation 3 and figure 5, predicts them from
the clip. In a replaced bottleneck only the middle 3x3 convolution changes; stem, pools, head and
the choice of blocks are in `models.c2d`.

What the paper leaves open follows the authors' release: the initial coefficients, no bias and no
activation in the prediction of CoST(b), the same stride (1, s, s) for all three views.

Axes: B clips, C channels, T frames, H rows, W columns, V = 3 views in the order H-W, T-W, T-H.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.c2d import PooledResNet, Pools, Stem, replace_alternate
from models.cost_forms import (
    Form,
    FormOption,
    folded_views,
    separate_views,
    table_1,
    view_kernels,
)
from models.layers import check_choice, check_flag
from models.resnet import BlockParts, Bottleneck, get_architecture

VIEWS = ("hw", "tw", "th")


class CoSTOperation(nn.Module):
    """The collaborative convolution, without its coefficients (equations 1 and 2).

    Args:
        in_channels: C.
        out_channels: C'.
        stride: Stride in H and W, of every view.
        shared: One kernel bank for all views, as in the paper; False gives each its own.
        form: One of `forms`, or "table_1", see `models.cost_forms`.

    Raises:
        ValueError: The operation has no such form.

    Attributes:
        forms: Those that this operation has.
        weight: The bank, (C', C, 3, 3), or (3, C', C, 3, 3) if not shared. Rows lie along H, T and
            T, columns along W, W and H for the views H-W, T-W and T-H.
    """

    forms: ClassVar[tuple[Form, ...]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        shared: bool = True,
        form: FormOption = "table_1",
    ) -> None:
        super().__init__()
        check_choice("form", form, ("table_1", *self.forms))
        self.stride = (1, stride, stride)
        self.form = form
        self.shared = shared
        bank = (out_channels, in_channels, 3, 3)
        self.weight = nn.Parameter(torch.empty(bank if shared else (len(VIEWS), *bank)))
        for kernel in [self.weight] if shared else self.weight:
            nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
        self.add_coefficients(out_channels)

    def add_coefficients(self, out_channels: int) -> None:
        """Add the parameters that the coefficients come from.

        Args:
            out_channels: C'.
        """
        raise NotImplementedError

    def banks(self) -> list[Tensor]:
        """The bank of each view, three times (C', C, 3, 3)."""
        return [self.weight] * len(VIEWS) if self.shared else list(self.weight.unbind())

    def form_for(self, x: Tensor) -> Form:
        """The form in which an input of this size, (B, C, T, H, W), is computed."""
        if self.form != "table_1":
            return self.form
        form = table_1(x, self.weight.shape[-4], self.stride[-1])
        return form if form in self.forms else "separate"

    def views(self, x: Tensor) -> list[Tensor]:
        """Convolve x, (B, C, T, H, W), with each bank; three times (B, C', T, H', W')."""
        convolve = folded_views if self.form_for(x) == "folded" else separate_views
        return convolve(x, self.banks(), self.stride[-1])

    def coefficients(self, x: Tensor) -> Tensor:
        """The share of each view in each output channel.

        Args:
            x: Input of the operation, (B, C, T, H, W).

        Returns:
            Coefficients (B, C', 3); each row sums to 1.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Sizes, for `print(network)`."""
        out_channels, in_channels = self.weight.shape[-4:-2]
        sizes = f"{in_channels}, {out_channels}, stride={self.stride}"
        return f"{sizes}, shared={self.shared}, form={self.form}"


class CoSTOperationA(CoSTOperation):
    """CoST(a): the coefficients are parameters (figure 4).

    They do not depend on the clip, so the whole operation is one 3x3x3 convolution, whose kernel
    has 19 taps that are not zero (section 3.4). Against three convolutions that keeps one output in
    memory instead of three, and is faster but for few positions (benchmarks/cost_operation.py).

    Args:
        in_channels: C.
        out_channels: C'.
        stride: Stride in H and W.
        shared: One kernel bank for all views.

    Attributes:
        logits: (C', 3), coefficients before the softmax; +0.7, -0.7, -0.7 at first (authors'
            code), which is 0.67, 0.165, 0.165.
    """

    forms = ("separate", "folded", "merged")

    def add_coefficients(self, out_channels: int) -> None:
        """See `CoSTOperation`."""
        self.logits = nn.Parameter(torch.tensor([0.7, -0.7, -0.7]).repeat(out_channels, 1))

    def coefficients(self, x: Tensor) -> Tensor:
        """The share of each view, (B, C', 3); the same for every clip of x."""
        return self.logits.softmax(1).expand(x.shape[0], -1, -1)

    def merged_kernel(self) -> Tensor:
        """The one kernel that does the work of the three.

        Returns:
            K (C', C, 3, 3, 3), with t, h, w in {-1, 0, 1}: K[t, h, w] = a_hw [t=0] w(h, w)
            + a_tw [h=0] w(t, w) + a_th [w=0] w(t, h). Its 8 corners are zero.
        """
        shares = self.logits.softmax(1).t()[..., None, None, None, None]
        kernels = zip(shares, view_kernels(self.banks()), strict=True)
        hw, tw, th = (share * kernel for share, kernel in kernels)
        return F.pad(hw, (0, 0, 0, 0, 1, 1)) + F.pad(tw, (0, 0, 1, 1)) + F.pad(th, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (B, C', T, H/stride, W/stride)."""
        if self.form_for(x) == "merged":
            return F.conv3d(x, self.merged_kernel(), stride=self.stride, padding=1)
        views = self.views(x)
        shares = self.logits.softmax(1).t().to(views[0].dtype)  # autocast makes it float32
        shares = shares[..., None, None, None]  # (3, C', 1, 1, 1)
        hw, tw, th = (share * view for share, view in zip(shares, views, strict=True))
        y: Tensor = hw + tw + th
        return y


class CoSTOperationB(CoSTOperation):
    """CoST(b): the coefficients are predicted from the clip (equation 3, figure 5).

    Each view is max-pooled over T, H and W, mixed across channels, then across views; a softmax
    over the views gives the shares. The gradient flows through the prediction into the views.

    Args:
        in_channels: C.
        out_channels: C'.
        stride: Stride in H and W.
        shared: One kernel bank for all views.

    Attributes:
        channel_mixing: C' to C', without bias, the same for all views; weight (C', C'),
            normal(0, 0.01) at first (authors' code).
        view_mixing: 3 to 3, without bias, the same for all channels; weight (3, 3), likewise. So
            the shares start near 1/3.
    """

    forms = ("separate", "folded")

    def add_coefficients(self, out_channels: int) -> None:
        """See `CoSTOperation`."""
        self.channel_mixing = nn.Linear(out_channels, out_channels, bias=False)
        self.view_mixing = nn.Linear(len(VIEWS), len(VIEWS), bias=False)
        nn.init.normal_(self.channel_mixing.weight, std=0.01)
        nn.init.normal_(self.view_mixing.weight, std=0.01)

    def coefficients(self, x: Tensor) -> Tensor:
        """The share of each view, (B, C', 3), for each clip of x."""
        return self._predict(self.views(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (B, C', T, H/stride, W/stride)."""
        views = self.views(x)
        shares = self._predict(views).to(views[0].dtype)  # autocast makes it float32
        shares = shares[..., None, None, None]  # (B, C', 3, 1, 1, 1)
        hw, tw, th = (share * view for share, view in zip(shares.unbind(2), views, strict=True))
        return hw + tw + th

    def _predict(self, views: list[Tensor]) -> Tensor:
        """Coefficients (B, C', 3) of three views (B, C', T, H, W)."""
        pooled = torch.stack([view.amax((2, 3, 4)) for view in views], dim=1)  # (B, 3, C')
        mixed = self.channel_mixing(pooled).transpose(1, 2)  # (B, C', 3)
        logits: Tensor = self.view_mixing(mixed)
        return logits.softmax(2)


class CoST(PooledResNet):
    """ResNet with CoST operations in every other bottleneck (table 1, figure 3(d)).

    Built as `CoSTA` or `CoSTB`.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES` with bottlenecks.
        num_classes: Width of the logits.
        shared: One kernel bank for the three views (the paper's choice), or one each (table 3).
        form: How the operation is computed: "table_1" takes what is fast at the size of its input,
            see `models.cost_forms`.
        pools: See `PooledResNet`.
        stem: See `PooledResNet`.
        dropout: See `PooledResNet`.

    Raises:
        ValueError: An argument is out of its range.
    """

    operation: ClassVar[type[CoSTOperation]]

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        shared: bool = True,
        form: FormOption = "table_1",
        pools: Pools = "released",
        stem: Stem = "8_frames",
        dropout: float = 0.5,
    ) -> None:
        def collaborative(in_channels: int, out_channels: int, stride: int) -> nn.Module:
            return self.operation(in_channels, out_channels, stride, shared=shared, form=form)

        check_flag("shared", shared)
        super().__init__(
            get_architecture(arch, Bottleneck),
            num_classes,
            block_parts=replace_alternate(arch, BlockParts(conv2=collaborative)),
            pools=pools,
            stem=stem,
            dropout=dropout,
        )

    def operations(self) -> dict[str, CoSTOperation]:
        """The CoST operations by module name, from the input on (the layers of figure 8)."""
        return {name: m for name, m in self.named_modules() if isinstance(m, CoSTOperation)}

    @torch.no_grad()
    def coefficients(self, clip: Tensor) -> dict[str, Tensor]:
        """The share of each view in each layer, for the analysis of section 4.5.

        Always those of evaluation mode; mode and running statistics stay as they are.

        Args:
            clip: Normalized frames, (B, 3, T, H, W).

        Returns:
            Module name to coefficients (B, C', 3), in the order of the layers.
        """
        found: dict[str, Tensor] = {}
        training = [module for module in self.modules() if module.training]
        handles = []
        for name, operation in self.operations().items():

            def record(module: CoSTOperation, inputs: tuple[Tensor], name: str = name) -> None:
                found[name] = module.coefficients(inputs[0])

            handles.append(operation.register_forward_pre_hook(record))
        try:
            self.eval()
            self.forward_features(clip)
        finally:
            for module in training:
                module.training = True
            for handle in handles:
                handle.remove()
        return found

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | None:
        """Give a 2D kernel to each view where they do not share; else as `VideoNetwork`."""
        owner = self.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, CoSTOperation) and not owner.shared and weight.shape == shape[1:]:
            return weight.expand(shape)
        return super().adapt_weight(name, weight, shape)


class CoSTA(CoST):
    """CoST(a), coefficients learned; arguments as `CoST`."""

    operation = CoSTOperationA
    new_parameters = ("*.conv2.logits",)


class CoSTB(CoST):
    """CoST(b), coefficients predicted from the clip; arguments as `CoST`."""

    operation = CoSTOperationB
    new_parameters = ("*.conv2.channel_mixing.weight", "*.conv2.view_mixing.weight")
