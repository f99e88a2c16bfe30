"""What the codec's first code is chosen by: a recogniser's encoder tells of each of the codec's frames what is said in it.

It is an encoder of Whisper's kind of its own, so that the codes keep their meaning while the encoder that the GPT hears is trained on.
Where it was trained to spell, the sounds of speech lie apart in its numbers: codes so chosen carry the words, as those of CosyVoice do
(arXiv 2407.05407).

B batch, N samples, T frames of 40 ms, G width of the guide.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.features import HOP, FeatureConfig
from lauragpt.model.log_mel import make_features
from lauragpt.model.whisper import Whisper, WhisperConfig


class Listener(nn.Module):
    def __init__(self, features: FeatureConfig, config: WhisperConfig):
        """config.output: G."""
        super().__init__()
        self.features, self.encoder = make_features(features), Whisper(config)

    def forward(self, wave: Tensor, samples: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, ceil(N / 640), G)"""
        guide = self.encoder(*self.features(wave, samples.to(wave.device))).embeddings
        return F.pad(guide, (0, 0, 0, -(-wave.shape[1] // (self.features.config.skip * HOP)) - guide.shape[1]))
