"""A host for the tests, and what is deployed on it.

The host is the one at NOCTI_SERVER, or one that is started for this run over a store of its own. NOCTI is the program that
starts it and makes bundles, by default the repository's own.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nocti

REPOSITORY = Path(__file__).parents[3]
PROGRAM = os.environ.get("NOCTI") or str(REPOSITORY / "target/debug/nocti")
MODELS = REPOSITORY / "tests/fixtures/models"
COMPONENTS = REPOSITORY / "examples/wasm-models/target/wasm32-wasip2/release"

# The datatypes, each with the model of `tests/fixtures/models` that gives back what it gets.
TYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "string",
}

Bundler = Callable[..., Path]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundler:
    """Makes a bundle as users do, with `nocti build`."""

    def make(
        name: str,
        *,
        version: str = "1.0.0",
        model: Path | None = None,
        component: Path | None = None,
        asset: bytes | None = None,
        head: str = "",
        more: str = "",
    ) -> Path:
        folder = tmp_path_factory.mktemp(name)
        lines = [f'name = "{name}"', f'version = "{version}"', head]
        for heading, file in (("[component]", component), (f'[[model]]\nname = "{name}"', model)):
            if file is not None:
                # In the folder, where a bundle's files have to be.
                (folder / file.name).symlink_to(file)
                lines.append(f'{heading}\npath = "{file.name}"')
        if asset is not None:
            (folder / "asset").write_bytes(asset)
            lines.append('[assets]\nasset = "asset"')
        (folder / "nocti.toml").write_text("\n".join([*lines, more]))
        file = folder / "bundle.wasm"
        subprocess.run([PROGRAM, "build", folder, "-o", file], check=True, capture_output=True)
        return file

    return make


@contextmanager
def host(store: Path, **settings: str) -> Iterator[str]:
    """A host over a store, with settings as the environment has them, while it is needed: its address."""
    command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store", str(store)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **settings}) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if "listening on " in line:
                break
        else:
            pytest.fail(f"the host ended before it served:\n{seen}")
        # Read on, or the pipe fills and the host waits for us.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            yield line.split("listening on ")[1].strip()
        finally:
            process.terminate()
            reader.join()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host's address."""
    if given := os.environ.get("NOCTI_SERVER"):
        yield given
        return
    with host(tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest.fixture(scope="session")
def functions(server: str, bundle: Bundler) -> None:
    """Everything that tests ask."""
    examples = REPOSITORY / "examples/wasm-models"
    with nocti.Client(server) as client:
        client.deploy(bundle("simple", model=MODELS / "addsub.onnx"))
        client.deploy(bundle("slow", model=MODELS / "slow.onnx", more='[limits]\ntimeout = "1s"'))
        client.deploy(bundle("hello-http", component=COMPONENTS / "hello_http.wasm"))
        # It has no signature, so that it takes any inputs.
        client.deploy(bundle("free", component=COMPONENTS / "misbehave.wasm"))
        digits = examples / "digits"
        for version, alias in (("1.0.0", "live"), ("1.1.0", None)):
            parts = {"component": COMPONENTS / "digits.wasm", "model": digits / "model/digits.onnx"}
            client.deploy(bundle("digits", version=version, **parts), alias=alias)
        for name in TYPES.values():
            client.deploy(bundle(f"identity-{name}", model=MODELS / f"identity_{name}.onnx"))


@pytest.fixture
def client(server: str, functions: None) -> Iterator[nocti.Client]:
    """A client of the host, where the functions are."""
    with nocti.Client(server) as client:
        yield client


@pytest.fixture
def two(client: nocti.Client, bundle: Bundler) -> Callable[[str], None]:
    """Deploys versions 1 and 2 of a function, `live` at 2."""

    def deploy(name: str) -> None:
        for version in ("1", "2"):
            head = f'description = "Sums of Ångström"\ntags = ["sum", "{version}"]'
            made = bundle(
                name, version=version, model=MODELS / "scalar.onnx", head=head, more=f"[metrics]\naccuracy = 0.{version}"
            )
            client.deploy(made, message=f"version {version}")

    return deploy
