"""The one-step vocoder's stage: tokens, some of them wrong, and a condition -> the sum of all embeddings. The codec is frozen.

The paper's loss is L1 + L2 of the embeddings (section 3.4), which counts all their directions alike. What they become is heard, so the
codec's spectral loss on a piece of the decoded sound is added.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.codec.losses import SpectralLoss
from lauragpt.data.manifest import Example
from lauragpt.model.lauragpt import LauraModel, alike
from lauragpt.model.vocoder import vocoder_loss
from lauragpt.spoken import normalize
from lauragpt.train.model_stage import ModelStage, Update, pad
from lauragpt.train.stages.codec import CodecStageConfig

PROMPT_SECONDS = 3.0  # of the speaker's other utterance that the vocoder hears


class VocoderStage(ModelStage):
    """Tokens and a condition to the sum of all embeddings, and to the sound that these make."""

    name, trained = "vocoder", ("vocoder",)
    corrupted, strangers = 0.08, 0.3  # shares: tokens replaced by others (the GPT errs); conditions of another utterance
    haste = 0.1  # by how much, at most, speech is faster or slower than was asked for
    piece = 50  # frames of each batch that are decoded: two seconds

    def __init__(self, model: LauraModel, *rest, **more):
        super().__init__(model, *rest, **more)
        with torch.no_grad():  # at first, nearly nothing is added to the tokens' own embeddings
            model.vocoder.output.weight.mul_(0.1)
            model.vocoder.output.bias.zero_()
        model.codec.requires_grad_(False)  # sound's gradient goes through it, not to it
        self.spectral_loss = SpectralLoss(CodecStageConfig.windows, SAMPLE_RATE).to(self.device)

    def batch(self, step: int) -> dict:
        rng = self.rng(step)
        examples = [self.corpus.train[i] for i in self.plan[step]]
        wanted = "se" if rng.random() < self.config.weights.get("se", 0.0) / sum(self.config.weights.values()) else "tts"
        same = [e for e in examples if e.task == wanted] or examples
        same = [e for e in same if e.task == same[0].task]
        clean = [self.corpus.waves(e.audio) for e in same]
        noisy = [self.corpus.noisy(wave, rng) for wave in clean] if same[0].task == "se" else []
        # Now and then the noise of another utterance: the tokens say what was spoken, so that nothing goes round the GPT.
        if rng.random() < self.strangers:
            noisy = noisy[-1:] + noisy[:-1]
        groups = alike([len(wave) // self.model.config.codec.hop for wave in clean])
        return {"groups": [self.group([same[i] for i in g], [clean[i] for i in g], [noisy[i] for i in g] if noisy else [], rng) for g in groups]}

    def group(self, same: list[Example], clean: list[np.ndarray], noisy: list[np.ndarray], rng: np.random.Generator) -> dict:
        """Examples of one task and of like length, with their conditions: `noisy`, or text and prompt."""
        batch = {"clean": pad(clean), "corrupt": rng.integers(1 << 31)}
        if noisy:
            batch["noisy"] = pad(noisy)
        else:
            texts = [torch.tensor(self.corpus.write("tts", normalize(e.source, e.lang))) for e in same]
            took = [len(wave) / self.model.config.codec.hop / max(1, len(text)) for wave, text in zip(clean, texts, strict=True)]
            paces = torch.tensor(took) * (1 + self.haste * torch.from_numpy(rng.uniform(-1, 1, len(took))).float())
            batch["text"] = pad_sequence(texts, batch_first=True), torch.tensor([len(t) for t in texts]), paces
            others = [self.corpus.prompt(e, rng) for e in same]
            most = int(PROMPT_SECONDS * SAMPLE_RATE)
            batch["prompt"] = pad([self.corpus.waves(o.audio)[:most] if o is not None else np.zeros(0) for o in others])
        return batch

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        tokens = [int(-(-group["clean"][1] // self.model.config.codec.hop).sum()) for group in batch["groups"]]
        loss = sum(self.loss(group) * (count / sum(tokens)) for group, count in zip(batch["groups"], tokens, strict=True))
        update("model", loss)
        return {"loss": loss.item(), "noisy" if "noisy" in batch["groups"][0] else "text": loss.item()}

    def loss(self, batch: dict) -> Tensor:
        device, codec = self.device, self.model.codec.eval()
        clean, samples = (tensor.to(device) for tensor in batch["clean"])
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            codes = codec.encode(clean, samples)
            target = codec.embed(codes)
        tokens, lengths = codes[:, 0], -(-samples // self.model.config.codec.hop)
        generator = torch.Generator().manual_seed(int(batch["corrupt"]))
        wrong = (torch.rand(tokens.shape, generator=generator) < self.corrupted).to(device)
        tokens = torch.where(wrong, torch.randint(self.model.config.audio_size, tokens.shape, generator=generator).to(device), tokens)
        conditions = {
            name: tuple(t.to(device) for t in batch[name]) for name in ("text", "prompt", "noisy")
            if name in batch and batch[name][0].shape[1]
        }  # fmt: skip
        predicted = self.model.vocode(tokens, lengths, **conditions)
        return vocoder_loss(predicted, target, lengths) + self.sound_loss(predicted, clean, lengths, generator)

    def sound_loss(self, embeddings: Tensor, clean: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """embeddings (B, T, E), clean (B, N), lengths (B,) in frames -> the spectral loss of a piece, drawn for the batch, of the sound."""
        hop, size = self.model.config.codec.hop, min(self.piece, embeddings.shape[1])
        start = int(torch.randint(embeddings.shape[1] - size + 1, (1,), generator=generator))
        lengths = (lengths - start).clamp(0, size)
        decoded = self.model.codec.decode_embeddings(embeddings[:, start : start + size].float(), lengths)
        real = clean[:, start * hop : (start + size) * hop]
        real = F.pad(real, (0, decoded.shape[1] - real.shape[1]))
        return self.spectral_loss(decoded * (torch.arange(size * hop, device=lengths.device) < lengths[:, None] * hop), real)
