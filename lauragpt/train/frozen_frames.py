"""What an encoder's frozen layers make of recordings, made once and kept on disk, so that what lies above them trains several times faster.

Frames are found again by the hash of the recording's samples, in a folder that is named by the hash of the frozen weights. They are kept as
float16, and rounded so where they are not kept, that both are the same. Files of some MB appear whole, so that an interrupted run loses no
more than the last of them.

B batch, N samples, T frames of 40 ms, C encoder width, n layers: those that the GPT hears and the last frozen one.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.errors import LauraError
from lauragpt.files import replacing
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.lauragpt import LauraModel
from lauragpt.model.listener import Listener
from lauragpt.model.whisper import Whisper
from lauragpt.train.spec_augment import mask_frames

if TYPE_CHECKING:
    from lauragpt.train.corpus import Corpus
    from lauragpt.train.encoding import Recordings
    from lauragpt.train.stage import ListeningConfig

FILE_BYTES = 64_000_000


def frozen_frames(model: LauraModel | Listener, corpus: "Corpus", config: "ListeningConfig", rank: int) -> "FrozenFrames | None":
    """Freezes the layers that a stage does not train; None where it trains all. LauraError where the encoder cannot."""
    if not config.frozen_layers:
        return None
    if not isinstance(model.encoder, Whisper):
        raise LauraError("frozen_layers: the preset's encoder has no published layers: leave it out, or choose the preset mini")
    name = "listener_frames" if isinstance(model, Listener) else "frames"  # each deletes what others' weights made
    folder = corpus.out / name if corpus.out and config.frames_gigabytes else None
    return FrozenFrames(model, config.frozen_layers, folder, config.frames_gigabytes, rank)


class FrozenFrames:
    def __init__(self, model: LauraModel | Listener, depth: int, folder: Path | None = None, gigabytes: float = 0.0, rank: int = 0):
        """`gigabytes`: how much may be kept in `folder`; frames of other weights that lie there are deleted."""
        self.model, self.depth, self.rank = model, depth, rank
        self.places: dict[str, safe_open] = {}  # of the frames on disk
        self.new: dict[str, Tensor] = {}  # those that will make the next file
        self.size, self.room = 0, int(gigabytes * 1e9)
        tensors = model.encoder.freeze(depth)
        if folder is None:
            return
        digest = hashlib.sha256(repr((model.features.config, model.encoder.config.heard, depth)).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
        self.folder = folder / digest.hexdigest()[:16]
        for other in [path for path in folder.glob("*") if path != self.folder] if rank == 0 else ():
            shutil.rmtree(other, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("*.safetensors")):
            self._open(path)

    def keys(self, recordings: "Recordings") -> list[str]:
        """Of each recording the hash of its samples."""
        return [hashlib.sha256(wave.numpy().tobytes()).hexdigest()[:32] for wave in recordings.split(torch.device("cpu"))]

    def encode(self, waves: Tensor, samples: Tensor, keys: Sequence[str], augment: bool) -> EncoderOutput:
        """(B, N), (B,) -> EncoderOutput. `augment` hides spans of the frozen layers' frames."""
        lengths, device = self.model.features.lengths(samples), waves.device
        missing = [i for i, key in enumerate(keys) if key not in self.new and key not in self.places]
        made = dict(zip([keys[i] for i in missing], self._make(waves[missing], samples[missing]), strict=True)) if missing else {}
        frames = pad_sequence([(made[key] if key in made else self._kept(key)).to(device) for key in keys], batch_first=True).float()
        for key, rows in made.items():
            self._keep(key, rows)
        if augment:
            frames = mask_frames(frames, lengths)
        return self.model.encoder.above(frames, lengths, self.depth)

    @torch.no_grad()
    def _make(self, waves: Tensor, samples: Tensor) -> list[Tensor]:
        """(2 T, n, C) float16 of each."""
        encoder, was_training = self.model.encoder, self.model.encoder.training
        encoder.eval()
        features, lengths = self.model.features(waves, samples)
        frames = encoder.below(features, lengths, self.depth).half().cpu()
        encoder.train(was_training)
        return [rows[: 2 * length] for rows, length in zip(frames, lengths.tolist(), strict=True)]

    def _kept(self, key: str) -> Tensor:
        return self.new[key] if key in self.new else self.places[key].get_tensor(key)

    def _keep(self, key: str, frames: Tensor) -> None:
        """Until there is no more room."""
        if self.room < frames.nbytes:
            return
        self.room -= frames.nbytes
        self.new[key] = frames.clone()
        self.size += frames.nbytes
        if self.size >= FILE_BYTES:
            path = self.folder / f"{self.rank}-{len(list(self.folder.glob(f'{self.rank}-*'))):05d}.safetensors"
            with replacing(path) as file:
                file.write(safetensors.torch.save(self.new))
            self.new, self.size = {}, 0
            self._open(path, counted=True)

    def _open(self, path: Path, counted: bool = False) -> None:
        file = safe_open(path, "pt")
        self.places |= dict.fromkeys(file.keys(), file)
        self.room -= 0 if counted else path.stat().st_size
