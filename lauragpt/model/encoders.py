"""The kinds of encoder by name: a checkpoint's or a recipe's values -> a configuration -> the network."""

from lauragpt.errors import LauraError
from lauragpt.model.conformer import Conformer, ConformerConfig
from lauragpt.model.discrete import CodeEmbedding, CodesConfig
from lauragpt.model.encoder import Encoder
from lauragpt.model.whisper import Whisper, WhisperConfig

EncoderConfig = ConformerConfig | WhisperConfig | CodesConfig
ENCODERS = {"conformer": (ConformerConfig, Conformer), "whisper": (WhisperConfig, Whisper), "codes": (CodesConfig, CodeEmbedding)}


def encoder_config(values: dict) -> EncoderConfig:
    """LauraError for a kind that there is not."""
    kind = values.get("kind", "conformer")
    if kind not in ENCODERS:
        raise LauraError(f"encoder.kind is {kind!r}: choose {' or '.join(ENCODERS)}")
    return ENCODERS[kind][0](**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def make_encoder(config: EncoderConfig) -> Encoder:
    """The network of a configuration that `encoder_config` has made, with random weights."""
    return ENCODERS[config.kind][1](config)
