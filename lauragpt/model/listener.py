"""What the codec's first code is chosen by: a recogniser's encoder tells of each of the codec's frames what is said in it.

It is an encoder of Whisper's kind of its own, so that the codes keep their meaning while the encoder that the GPT hears is trained on.
Where it was trained to spell, the sounds of speech lie apart in its numbers: codes so chosen carry the words, as those of CosyVoice do
(arXiv 2407.05407).

B batch, N samples, T frames of 40 ms, G width of the guide.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.codec.codec import in_eight_bits
from lauragpt.errors import LauraError
from lauragpt.features import HOP, FeatureConfig
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.log_mel import make_features
from lauragpt.model.whisper import Whisper, WhisperConfig
from lauragpt.stored_weights import dequantize, quantize

SIZES = ("bins", "width", "heads", "ffn")


class Listener(nn.Module):
    def __init__(self, features: FeatureConfig, config: WhisperConfig):
        """config.output: G. Of the other parts of such an encoder a listener has none: layers heard beside the last, a CTC head, dropped
        layers."""
        super().__init__()
        alone = replace(config, input=features.width, bins=features.bins, heard=(), units=1, drop_layer=0.0)
        self.features, self.encoder = make_features(features), Whisper(alone)
        self.encoder.ctc.requires_grad_(False)

    def begin_as(self, encoder: Whisper) -> None:
        """Hears as the first layers of a trained encoder do. LauraError where that is of another kind or size."""
        own, others = self.encoder.config, encoder.config if isinstance(encoder, Whisper) else None
        if others is None or own.layers > others.layers or any(getattr(own, size) != getattr(others, size) for size in SIZES):
            raise LauraError(
                f"the codec's listener begins as an encoder of Whisper's kind: give it the encoder's {', '.join(SIZES)}, and no more layers"
            )
        taken = {key for key in self.encoder.state_dict() if not key.startswith(("output.", "ctc."))}
        self.encoder.load_state_dict({key: value for key, value in encoder.state_dict().items() if key in taken}, strict=False)

    def listen(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """(B, T, F), (B,) -> an output whose embeddings are the guide (B, T, G)."""
        return self.encoder(features, lengths)

    @torch.no_grad()
    def round_as_stored(self) -> None:
        """Gives each matrix the values that it will have when a checkpoint is loaded, so that codes made before are those made after."""
        for name, parameter in self.named_parameters("listener"):
            if in_eight_bits(name, parameter):
                parameter.copy_(torch.from_numpy(dequantize(*quantize(parameter.cpu().numpy()))))
            else:
                parameter.copy_(parameter.half())

    def with_posteriors(self, output: EncoderOutput) -> EncoderOutput:
        """The guide says all."""
        return output

    def forward(self, wave: Tensor, samples: Tensor | None = None) -> Tensor:
        """(B, N), and (B,) where rows are shorter -> (B, ceil(N / 640), G), in full precision whatever surrounds it: a number near the
        middle between two levels would be rounded otherwise."""
        samples = torch.full((len(wave),), wave.shape[1]) if samples is None else samples
        with torch.autocast(wave.device.type, enabled=False):
            guide = self.listen(*self.features(wave, samples.to(wave.device))).embeddings
        return F.pad(guide, (0, 0, 0, -(-wave.shape[1] // (self.features.config.skip * HOP)) - guide.shape[1]))
