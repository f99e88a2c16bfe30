"""A Whisper that says one word whatever it hears, converted for CTranslate2: as small as one can be, and what it says is known."""

from pathlib import Path

import ctranslate2
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

WIDTH = 96


def make_whisper(folder: Path, word: str) -> Path:
    """A folder that faster-whisper opens: an English-only model, as all with few tokens are."""
    tokenizer = make_tokenizer()
    hugging = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    place = folder.with_name(f"{folder.name} of transformers")
    make_model(tokenizer, word).save_pretrained(place)
    hugging.save_pretrained(place)
    transformers.WhisperFeatureExtractor().save_pretrained(place)
    ctranslate2.converters.TransformersConverter(str(place), copy_files=["tokenizer.json"]).convert(str(folder))
    return folder


def make_tokenizer() -> tokenizers.Tokenizer:
    """Bytes, and Whisper's special tokens in Whisper's order."""
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{lang}|>" for lang in LANGUAGES), "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>", *(f"<|{n * 0.02:.2f}|>" for n in range(1501))]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(letters)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


@torch.no_grad()
def make_model(tokenizer: tokenizers.Tokenizer, word: str) -> transformers.WhisperForConditionalGeneration:
    """Its layers add nothing, and each position of its output asks for one token."""
    end, start = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|startoftranscript|>")
    config = transformers.WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=start, suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    for layer in model.model.decoder.layers:
        for part in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            part.weight.zero_()
            part.bias.zero_()
    tokens = model.model.decoder.embed_tokens.weight
    tokens.copy_(8 * torch.nn.functional.normalize(torch.randn_like(tokens), dim=1))  # far enough apart that each is sure
    said = ["<|0.00|>", *word, "<|1.00|>", "<|endoftext|>"]
    ids = [number for text in said for number in tokenizer.encode(text).ids]
    positions = model.model.decoder.embed_positions.weight
    positions[:] = 20 * tokens[end]
    positions[: len(ids)] = 20 * tokens[ids]  # the prompt is <|startoftranscript|> alone
    model.proj_out.weight = tokens
    suppressed = {"suppress_tokens": [], "begin_suppress_tokens": []}
    codes = [tokenizer.token_to_id(f"<|{lang}|>") for lang in LANGUAGES]
    model.generation_config = transformers.GenerationConfig(
        **suppressed, alignment_heads=[[0, 0]], lang_to_id=dict(zip(map("<|{}|>".format, LANGUAGES), codes)),
        no_timestamps_token_id=tokenizer.token_to_id("<|notimestamps|>"), eos_token_id=end, pad_token_id=end, bos_token_id=end,
    )  # fmt: skip
    return model
