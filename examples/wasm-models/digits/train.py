#!/usr/bin/env python3
"""Train the digits network and write everything in model/ from it.

    pip install -r ../requirements-train.txt
    python train.py

The data are scikit-learn's 1797 hand-written digits. A quarter of them is held out before anything else happens; the
network never sees it, and no choice is made by looking at it.

model/digits.onnx    image FP32 [batch, 1, 8, 8], grey 0..1  ->  scores FP32 [batch, 10], probabilities
model/heldout.json   the held-out images as grey 0..255 and their labels
model/metrics.json   accuracy on them
model/samples/       the first held-out image of every digit as a PNG, named LABEL-0.png
"""

import json
import logging
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

SEED = 20260
TEST_PART = 0.25
EPOCHS = 120
BATCH = 32
LEARNING_RATE = 4e-3
OPSET = 18
OUT = Path(__file__).resolve().parent / "model"


def load():
    """The images as grey bytes, which is what a PNG holds and what clients send: 0 paper, 255 ink."""
    digits = load_digits()
    grey = numpy.round(digits.images * 255 / 16).astype(numpy.uint8)
    parts = train_test_split(grey, digits.target, test_size=TEST_PART, random_state=SEED, stratify=digits.target)
    seen = {image.tobytes() for image in parts[0]}
    assert not any(image.tobytes() in seen for image in parts[1]), "a held-out image is among those to train on"
    return parts


def scaled(grey):
    """Grey bytes as the network takes them."""
    return torch.from_numpy(grey.astype(numpy.float32) / 255).unsqueeze(1)


def network():
    """9,930 parameters. It ends in logits, which is what the loss wants."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(32 * 4 * 4, 10),
    )


def jittered(images, generator):
    """Each image moved, turned and stretched a little, so that 1347 of them say more about digits in general."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(len(images), generator=generator)

    angle, scale = uniform(-0.2, 0.2), uniform(0.9, 1.1)
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = angle.cos() * scale
    affine[:, 0, 1], affine[:, 1, 0] = -angle.sin() * scale, angle.sin() * scale
    # The image spans -1..1, so 0.25 is one pixel.
    affine[:, 0, 2], affine[:, 1, 2] = uniform(-0.2, 0.2), uniform(-0.2, 0.2)
    grid = functional.affine_grid(affine, images.shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(images, labels):
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    batches = -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs=EPOCHS, steps_per_epoch=batches)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = functional.cross_entropy(model(jittered(images[rows], generator)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1:3}: training loss {total / len(images):.4f}")
    return model.eval()


def export(model, path):
    """The network with a softmax behind it, as ONNX with a free batch dimension."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter reports its own deprecations at length.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            nn.Sequential(*model, nn.Softmax(dim=1)).eval(),
            (torch.zeros(2, 1, 8, 8),),
            input_names=["image"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    # What the exporter notes of this machine and of this script's lines does not belong in the model.
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for item in [*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
        del item.metadata_props[:]
        item.ClearField("doc_string")
    proto.graph.name = "digits"
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def write_heldout(grey, labels, path):
    """One image a line, so that a change of the data is a readable diff."""
    images = ",\n".join(json.dumps(image.tolist(), separators=(",", ":")) for image in grey)
    path.write_text(f'{{"images": [\n{images}\n],\n"labels": {json.dumps(labels.tolist())}}}\n')


def write_samples(grey, labels, folder):
    folder.mkdir(exist_ok=True)
    for label in range(10):
        first = int(numpy.flatnonzero(labels == label)[0])
        Image.fromarray(grey[first]).save(folder / f"{label}-0.png", optimize=True)


def main():
    # One thread, so that sums are added in the same order however many cores there are.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    OUT.mkdir(exist_ok=True)
    train_grey, test_grey, train_labels, test_labels = load()

    model = train(scaled(train_grey), torch.from_numpy(train_labels))
    export(model, OUT / "digits.onnx")

    # Measured on the file that is deployed, not on the network it came from.
    session = onnxruntime.InferenceSession(OUT / "digits.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"image": scaled(test_grey).numpy()})
    with torch.no_grad():
        drift = numpy.abs(model(scaled(test_grey)).softmax(1).numpy() - scores).max()
    assert drift < 1e-5, f"the exported network differs from the trained one by {drift}"
    correct = int((scores.argmax(1) == test_labels).sum())

    write_heldout(test_grey, test_labels, OUT / "heldout.json")
    write_samples(test_grey, test_labels, OUT / "samples")
    metrics = {
        "accuracy": round(correct / len(test_labels), 4),
        "correct": correct,
        "samples": len(test_labels),
        "trained_on": len(train_labels),
        "seed": SEED,
    }
    (OUT / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"{correct} of {len(test_labels)} held-out digits right, {(OUT / 'digits.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main()
