#!/usr/bin/env python3
"""Train a scikit-learn pipeline on the iris data and export it with skl2onnx.

    pip install -r ../requirements-train.txt
    python train.py

iris.onnx                features FP32 [n, 4]  ->  label INT64 [n], probabilities FP32 [n, 3]
expected.json            held-out flowers with the answers scikit-learn itself gives, and the accuracy on all held-out ones
model/iris-zipmap.onnx   the same exported as skl2onnx does by default: its second output is a sequence of maps, which no
                         inference protocol can carry, so a host must refuse it when it is deployed
"""

import json
from pathlib import Path

import numpy
import onnx
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 20260
OPSET = {"": 17, "ai.onnx.ml": 3}
HERE = Path(__file__).resolve().parent


def export(pipeline, path, zipmap):
    model = convert_sklearn(
        pipeline,
        name="iris",
        initial_types=[("features", FloatTensorType([None, 4]))],
        options={id(pipeline): {"zipmap": zipmap}},
        target_opset=OPSET,
    )
    # skl2onnx names an operator set twice or in the order of a hash; this keeps the file the same in every run.
    versions = sorted({(entry.domain, entry.version) for entry in model.opset_import})
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*version) for version in versions)
    onnx.checker.check_model(model, full_check=not zipmap)
    path.write_bytes(model.SerializeToString(deterministic=True))


def check(path, samples, labels, probabilities):
    """What ONNX Runtime makes of the file must be what scikit-learn says."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    onnx_labels, onnx_probabilities = session.run(["label", "probabilities"], {"features": samples})
    assert (onnx_labels == labels).all(), "the exported labels differ"
    assert numpy.allclose(onnx_probabilities, probabilities, atol=1e-5), "the exported probabilities differ"


def main():
    iris = load_iris()
    samples = iris.data.astype(numpy.float32)
    train_samples, test_samples, train_labels, test_labels = train_test_split(
        samples, iris.target, test_size=0.3, random_state=SEED, stratify=iris.target
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train_samples, train_labels)
    accuracy = pipeline.score(test_samples, test_labels)
    labels, probabilities = pipeline.predict(test_samples), pipeline.predict_proba(test_samples)

    (HERE / "model").mkdir(exist_ok=True)
    export(pipeline, HERE / "iris.onnx", zipmap=False)
    export(pipeline, HERE / "model" / "iris-zipmap.onnx", zipmap=True)
    check(HERE / "iris.onnx", test_samples, labels, probabilities)

    # Three flowers of each kind.
    chosen = numpy.concatenate([numpy.flatnonzero(test_labels == label)[:3] for label in range(3)])
    cases = [
        {
            # As decimals of the data set, one place each: 5.1, not the float's 5.099999904632568.
            "features": [round(float(value), 1) for value in test_samples[row]],
            "species": str(iris.target_names[test_labels[row]]),
            "label": int(labels[row]),
            "probabilities": [round(float(value), 7) for value in probabilities[row]],
        }
        for row in chosen
    ]
    lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
    (HERE / "expected.json").write_text(
        f'{{\n  "accuracy": {accuracy:.4f},\n  "heldout": {len(test_labels)},\n'
        f'  "labels": {json.dumps([str(name) for name in iris.target_names])},\n  "cases": [\n{lines}\n  ]\n}}\n'
    )
    print(f"accuracy {accuracy:.4f} on {len(test_labels)} held-out flowers, {(HERE / 'iris.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main()
