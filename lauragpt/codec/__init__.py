"""Waveform (B, N) at 16 kHz <-> codes (B, K, T) at 25 Hz. The first codebook's indices are the GPT's audio tokens."""

from lauragpt.codec.codec import CODEC_PRESETS, Codec, CodecConfig, CodecOutput

__all__ = ["CODEC_PRESETS", "Codec", "CodecConfig", "CodecOutput"]
