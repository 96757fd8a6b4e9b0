#!/usr/bin/env python3
"""Write resnet50.onnx: a network of ResNet-50's shape with fixed random weights, 100 MB.

    scripts/setup python && ~/.cache/nocti/python/bin/python bench/models/resnet50.py

A benchmark needs the arithmetic of such a network, not its answers, so nothing is downloaded. Batch normalisation is part of
the convolutions, as in any network that was exported for serving. Weights follow He et al. (2015), and the last convolution of
each block is scaled down, so that what is added over 16 blocks stays finite. The same weights come out everywhere: NumPy
promises the stream of PCG64.
"""

import hashlib
from pathlib import Path

import numpy
from onnx import TensorProto, checker, helper, numpy_helper

TARGET = Path(__file__).resolve().parent / "resnet50.onnx"
SEED, OPSET, IR_VERSION = 50, 17, 8
# Blocks and inner channels of the four stages (He et al., "Deep Residual Learning", table 1).
STAGES = [(3, 64), (4, 128), (6, 256), (3, 512)]
EXPANSION, CLASSES = 4, 1000
# The share of what a block adds to its input.
RESIDUAL = 0.3


class Network:
    def __init__(self):
        self.random = numpy.random.Generator(numpy.random.PCG64(SEED))
        self.nodes, self.weights = [], []

    def weight(self, name, shape, deviation):
        # Integers of a fixed width, scaled: bit for bit the same on every machine, which a normal distribution is not.
        values = self.random.integers(-(2**15), 2**15, shape).astype(numpy.float32) / 2**15
        values *= numpy.float32(deviation * numpy.sqrt(3.0))
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind, name, inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, name, source, channels_in, channels_out, size, stride=1, scale=1.0):
        deviation = scale * numpy.sqrt(2.0 / (channels_in * size * size))
        weight = self.weight(f"{name}.weight", (channels_out, channels_in, size, size), deviation)
        bias = self.weight(f"{name}.bias", (channels_out,), 0.01)
        pad = size // 2
        return self.node(
            "Conv", name, [source, weight, bias], kernel_shape=[size, size], strides=[stride] * 2, pads=[pad] * 4
        )

    def relu(self, source):
        return self.node("Relu", f"{source}.relu", [source])

    def block(self, name, source, channels_in, inner, stride):
        outer = inner * EXPANSION
        x = self.relu(self.conv(f"{name}.a", source, channels_in, inner, 1))
        x = self.relu(self.conv(f"{name}.b", x, inner, inner, 3, stride))
        x = self.conv(f"{name}.c", x, inner, outer, 1, scale=RESIDUAL)
        if channels_in != outer:
            source = self.conv(f"{name}.shortcut", source, channels_in, outer, 1, stride, scale=numpy.sqrt(0.5))
        return self.relu(self.node("Add", f"{name}.sum", [x, source]))


def build():
    network = Network()
    x = network.relu(network.conv("stem", "image", 3, 64, 7, 2))
    x = network.node("MaxPool", "pool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (blocks, inner) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = network.block(f"stage{stage}.block{block}", x, channels, inner, stride)
            channels = inner * EXPANSION
    x = network.node("GlobalAveragePool", "average", [x])
    x = network.node("Flatten", "features", [x])
    weight = network.weight("classes.weight", (channels, CLASSES), numpy.sqrt(1.0 / channels))
    bias = network.weight("classes.bias", (CLASSES,), 0.01)
    network.node("Gemm", "logits", [x, weight, bias])
    graph = helper.make_graph(
        network.nodes,
        "resnet50",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        network.weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nocti-bench"
    )


built = build()
checker.check_model(built, full_check=True)
content = built.SerializeToString(deterministic=True)
TARGET.write_bytes(content)
print(f"{hashlib.sha256(content).hexdigest()}  {TARGET.name}, {len(content):,} bytes")
