"""The front ends against kaldi-native-fbank and transformers' Whisper, and their independence of the batch."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig, NumpyFeatures, numpy_features
from lauragpt.model.log_mel import Features, WhisperFeatures, make_features


def sound(samples: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16000
    return 0.2 * torch.sin(2 * torch.pi * (150 + 400 * time) * time) + 0.02 * torch.randn(samples, generator=generator) + 0.01


def kaldi(wave: np.ndarray) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = True
    options.frame_opts.window_type = "povey"
    options.mel_opts.num_bins = 80
    options.mel_opts.low_freq = 20
    options.mel_opts.high_freq = 8000
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(16000, (wave * 32768).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@pytest.mark.parametrize("samples", [400, 559, 560, 16000, 23457])
def test_log_mel_is_kaldis(samples):
    wave = sound(samples, samples)
    assert np.abs(Features(FeatureConfig()).log_mel(wave[None])[0].numpy() - kaldi(wave.numpy())).max() < 1e-3


def test_silence_is_finite_and_kaldis():
    wave = torch.zeros(1600)
    assert np.abs(Features(FeatureConfig()).log_mel(wave[None])[0].numpy() - kaldi(wave.numpy())).max() < 1e-3


@pytest.mark.parametrize("skip", [4, 6])
def test_stacking_repeats_the_edges(skip):
    features, wave = Features(FeatureConfig(skip=skip)), sound(8000, 1)
    got, lengths = features(wave[None], torch.tensor([8000]))
    mel = (features.log_mel(wave[None])[0] - 11.0) * 0.25
    wanted = []
    for start in range(0, len(mel), skip):  # FunASR's low frame rate: seven frames around every `skip`th
        wanted.append(torch.cat([mel[min(max(start + offset, 0), len(mel) - 1)] for offset in range(-3, 4)]))
    assert lengths.tolist() == [len(wanted)]
    torch.testing.assert_close(got[0], torch.stack(wanted))


@pytest.mark.parametrize("skip", [4, 6])
def test_a_clip_is_the_same_alone_and_in_a_batch(skip):
    features = Features(FeatureConfig(skip=skip))
    waves = [sound(n, n) for n in (100, 400, 6789, 16000)]
    samples = torch.tensor([len(wave) for wave in waves])
    together, lengths = features(torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), samples)
    for row, wave in enumerate(waves):
        alone, length = features(wave[None], samples[row : row + 1])
        assert length.item() == lengths[row].item() == alone.shape[1]
        torch.testing.assert_close(together[row, : length.item()], alone[0], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [50, 400, 559, 560, 16000, 400_123])
def test_numpy_computes_the_same(samples):
    wave = sound(samples, samples)
    got, (wanted, lengths) = NumpyFeatures(FeatureConfig())(wave.numpy()), Features(FeatureConfig())(wave[None], torch.tensor([samples]))
    assert got.shape == wanted[0].shape and len(got) == int(lengths) == FeatureConfig().length(samples)
    difference = np.abs(got - wanted[0].numpy())  # beside a tone that is far louder, float32 leaves its traces
    assert difference.max() < 5e-3 and difference.mean() < 1e-5


@pytest.mark.parametrize("bins", [80, 128])
def test_whispers_log_mel_is_transformers_without_its_padding(bins):
    config = FeatureConfig(kind="whisper", bins=bins, stack=4, skip=4)
    theirs, ours = WhisperFeatureExtractor(feature_size=bins), numpy_features(config)
    waves = [sound(n, n) for n in (50, 640, 641, 16000, 70_123)]
    together, lengths = make_features(config)(
        torch.nn.utils.rnn.pad_sequence(waves, batch_first=True) + 0.0, torch.tensor([len(wave) for wave in waves])
    )
    for row, wave in enumerate(waves):
        frames = 4 * -(-len(wave) // 640)  # of 10 ms
        wanted = theirs(wave.numpy(), sampling_rate=16000, return_tensors="np").input_features[0].T[:frames]
        assert np.abs(ours.log_mel(wave.numpy()) - wanted).max() < 1e-4
        assert lengths[row].item() == config.length(len(wave)) == frames // 4
        assert np.abs(together[row, : frames // 4].reshape(frames, bins).numpy() - wanted).max() < 1e-4
        assert ours(wave.numpy()).shape == (frames // 4, 4 * bins)


def test_what_is_padded_in_a_batch_does_not_count():
    features, wave = make_features(FeatureConfig(kind="whisper", stack=4, skip=4)), sound(16000, 2)
    noisy = torch.cat([wave, torch.randn(5000)])
    alone, _ = features(wave[None], torch.tensor([16000]))
    padded, lengths = features(torch.stack([noisy, noisy]), torch.tensor([16000, 21000]))
    torch.testing.assert_close(padded[0, : int(lengths[0])], alone[0])
    assert isinstance(features, WhisperFeatures)


@pytest.mark.parametrize("wrong", [{"kind": "mfcc"}, {"kind": "whisper", "stack": 7, "skip": 4}])
def test_features_that_there_are_not_are_told(wrong):
    with pytest.raises(LauraError, match=r"kaldi or whisper|must be equal"):
        FeatureConfig(**wrong)
