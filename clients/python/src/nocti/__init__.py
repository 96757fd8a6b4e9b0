"""Client of a Nocti host: deploy functions, and ask them with NumPy arrays.

    import numpy as np
    import nocti

    with nocti.Client("http://127.0.0.1:8000") as client:
        outputs = client.predict("digits", {"image": np.zeros((1, 8, 8), np.uint8)})
        print(outputs["label"])

`Client` waits for its answers, `AsyncClient` is awaited; they can do the same. What fails is a `NoctiError`.
"""

from .answers import (
    Compared,
    Deployed,
    Difference,
    Found,
    Function,
    History,
    Hit,
    Labelled,
    Line,
    Metadata,
    Revision,
    Rollout,
    Shadow,
    Status,
    Summary,
    TensorSpec,
    Traffic,
    Version,
)
from .async_client import AsyncClient
from .client import Client
from .errors import NoctiError
from .inference import Outputs
from .tensors import Datatype, Tensor

__all__ = [
    "AsyncClient",
    "Client",
    "Compared",
    "Datatype",
    "Deployed",
    "Difference",
    "Found",
    "Function",
    "History",
    "Hit",
    "Labelled",
    "Line",
    "Metadata",
    "NoctiError",
    "Outputs",
    "Revision",
    "Rollout",
    "Shadow",
    "Status",
    "Summary",
    "Tensor",
    "TensorSpec",
    "Traffic",
    "Version",
]
