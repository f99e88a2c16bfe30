"""Scaled dot-product attention, as the encoder, the GPT and the vocoder use it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_without_plans() -> None:
    """On GPUs, for the whole process: no attention by cuDNN. It plans for 20 ms whenever a shape is new, while the GPU waits, and batches
    of recordings seldom repeat a shape."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """q (B, H, S, W), k and v (B, H, T, W); mask: bool, broadcasts to (B, H, S, T), True where a position may look. -> (B, H, S, W)

    On the CPU torch's fused attention trains two to four times slower than the same written out, at a few hundred positions. In an ONNX
    graph it would ask of every weight whether it is a number, for rows that look nowhere, and there are none.
    """
    written_out = q.device.type == "cpu" and torch.is_grad_enabled()
    if not (written_out or torch.compiler.is_exporting()):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return attend_written_out(q, k, v, mask)


def attend_written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The same as three products and a softmax, whose weights (B, H, S, T) training keeps."""
    unseen = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(~mask, float("-inf"))
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + unseen).softmax(-1)
    return weights.to(v.dtype) @ v
