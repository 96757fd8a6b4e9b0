"""Triton's own Python clients against a host, as their users write them.

    python triton.py HTTP_ADDRESS GRPC_ADDRESS

The host has `simple` (addsub.onnx), `slow`, and `identity_TYPE` for each type. A check that fails raises; each says its name when
it is done.
"""

import asyncio
import queue
import sys

import grpc
import ml_dtypes
import numpy
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpcaio
import tritonclient.http as httpclient
import tritonclient.http.aio as httpaio
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

HTTP, GRPC = sys.argv[1:]
ZEROS_UP, ONES = numpy.arange(16, dtype=numpy.int32).reshape(1, 16), numpy.ones((1, 16), dtype=numpy.int32)
ENDLESS = 1 << 62

# What a careless conversion would change.
VALUES = {
    "bool": numpy.array([[True, False, True]]),
    "uint8": numpy.array([[0, 1, 2**8 - 1]], dtype=numpy.uint8),
    "uint16": numpy.array([[0, 1, 2**16 - 1]], dtype=numpy.uint16),
    "uint32": numpy.array([[0, 1, 2**32 - 1]], dtype=numpy.uint32),
    "uint64": numpy.array([[0, 1, 2**64 - 1]], dtype=numpy.uint64),
    "int8": numpy.array([[-(2**7), 0, 2**7 - 1]], dtype=numpy.int8),
    "int16": numpy.array([[-(2**15), 0, 2**15 - 1]], dtype=numpy.int16),
    "int32": numpy.array([[-(2**31), 0, 2**31 - 1]], dtype=numpy.int32),
    "int64": numpy.array([[-(2**63), 2**53 + 1, 2**63 - 1]], dtype=numpy.int64),
    "float16": numpy.array([[-65504, 0.1, 6e-8]], dtype=numpy.float16),
    "bfloat16": numpy.array([[1.0, -2.0, numpy.inf]], dtype=ml_dtypes.bfloat16),
    "float": numpy.array([[-0.0, 0.1, numpy.inf]], dtype=numpy.float32),
    "double": numpy.array([[-0.0, 0.1, numpy.inf]], dtype=numpy.float64),
    "string": numpy.array([["", "a b", "é🚀"]], dtype=object),
}


def check(function):
    """Runs a check once for each protocol, or once if it takes none."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if names[:1] == ("module",):
        for module, address in ((httpclient, HTTP), (grpcclient, GRPC)):
            with module.InferenceServerClient(address) as client:
                function(module, client)
            print(f"ok: {function.__name__} ({module.__name__})", flush=True)
    else:
        function()
        print(f"ok: {function.__name__}", flush=True)


def fails(text, call, *arguments, **options):
    """The call must fail with a message that has `text` in it."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert text in error.message(), f"'{text}' is not in: {error.message()}"
        return error
    raise AssertionError(f"it does not fail with '{text}'")


def tensor(module, name, values, **options):
    made = module.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values, **options)
    return made


def pair(module, **options):
    return [tensor(module, "INPUT0", ZEROS_UP, **options), tensor(module, "INPUT1", ONES, **options)]


def is_right(result):
    assert (result.as_numpy("OUTPUT0") == ZEROS_UP + ONES).all()
    assert (result.as_numpy("OUTPUT1") == ZEROS_UP - ONES).all()


def as_json(module):
    return {} if module is httpclient else {"as_json": True}


@check
def health(module, client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1.0.0")
    assert not client.is_model_ready("simple", "9") and not client.is_model_ready("nothing")


@check
def metadata(module, client):
    server = client.get_server_metadata(**as_json(module))
    assert server["name"] == "nocti" and "statistics" in server["extensions"], server
    model = client.get_model_metadata("simple", **as_json(module))
    assert (model["name"], model["versions"], model["platform"]) == ("simple", ["1.0.0"], "onnxruntime_onnx"), model
    assert [int(dim) for dim in model["inputs"][0]["shape"]] == [-1, 16], model
    fails("Request for unknown model: 'wrong_model_name'", client.get_model_metadata, "wrong_model_name")


@check
def configuration(module, client):
    config = client.get_model_config("simple", **as_json(module))
    config = config.get("config", config)
    assert int(config["max_batch_size"]) == 64 and config["input"][0]["data_type"] == "TYPE_INT32", config
    assert [int(dim) for dim in config["input"][0]["dims"]] == [16], config


@check
def inference(module, client):
    result = client.infer("simple", pair(module), request_id="seven")
    is_right(result)
    response = result.get_response()
    assert (response["id"] if module is httpclient else response.id) == "seven"
    outputs = [module.InferRequestedOutput("OUTPUT1")]
    result = client.infer("simple", pair(module), outputs=outputs, model_version="1.0.0")
    assert result.as_numpy("OUTPUT0") is None and (result.as_numpy("OUTPUT1") == ZEROS_UP - ONES).all()
    parameters = {"text": "a", "count": 1, "yes": True}
    is_right(client.infer("simple", pair(module), sequence_id=7, priority=1, timeout=10**7, parameters=parameters))


@check
def json_and_binary_data_over_http():
    with httpclient.InferenceServerClient(HTTP) as client:
        for binary_in in (True, False):
            for binary_out in (True, False):
                outputs = [httpclient.InferRequestedOutput(name, binary_data=binary_out) for name in ("OUTPUT0", "OUTPUT1")]
                is_right(client.infer("simple", pair(httpclient, binary_data=binary_in), outputs=outputs))


@check
def nan_and_infinities_as_json():
    """The client writes them as Python's json does."""
    values = numpy.array([[numpy.nan, numpy.inf, -numpy.inf]], dtype=numpy.float32)
    with httpclient.InferenceServerClient(HTTP) as client:
        outputs = [httpclient.InferRequestedOutput("output", binary_data=True)]
        got = client.infer("identity-float", [tensor(httpclient, "input", values, binary_data=False)], outputs=outputs)
        assert numpy.array_equal(got.as_numpy("output"), values, equal_nan=True), got.as_numpy("output")


@check
def every_type(module, client):
    for name, values in VALUES.items():
        result = client.infer(f"identity-{name}", [tensor(module, "input", values)])
        got = result.as_numpy("output")
        if name == "string":
            got = numpy.vectorize(bytes.decode, otypes=[object])(got)
        assert got.dtype == values.dtype and got.shape == values.shape, (name, got)
        assert (got == values).all(), (name, got)


@check
def asynchronous(module, client):
    if module is httpclient:
        for request in [client.async_infer("simple", pair(module)) for _ in range(8)]:
            is_right(request.get_result())
        return
    answers = queue.Queue()
    for _ in range(8):
        client.async_infer("simple", pair(module), lambda result, error: answers.put((result, error)))
    for _ in range(8):
        result, error = answers.get(timeout=60)
        assert error is None, error
        is_right(result)


@check
def with_asyncio():
    async def both():
        for module, address in ((httpaio, HTTP), (grpcaio, GRPC)):
            async with module.InferenceServerClient(address) as client:
                assert await client.is_server_ready()
                for result in await asyncio.gather(*(client.infer("simple", pair(module)) for _ in range(8))):
                    is_right(result)

    asyncio.run(both())


@check
def streaming():
    answers = queue.Queue()
    with grpcclient.InferenceServerClient(GRPC) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(20):
            model = "wrong_model_name" if number == 7 else "simple"
            final = {"enable_empty_final_response": True} if number == 8 else {}
            client.async_stream_infer(model, pair(grpcclient), request_id=str(number), **final)
        for number in range(20):
            result, error = answers.get(timeout=60)
            if number == 7:
                assert "Request for unknown model: 'wrong_model_name'" in error.message(), error
                continue
            assert error is None and result.get_response().id == str(number), (number, error)
            assert result.get_response().parameters["triton_final_response"].bool_param
            is_right(result)
        client.stop_stream()


@check
def packed_messages():
    with grpcclient.InferenceServerClient(GRPC) as client:
        for algorithm in ("gzip", "deflate"):
            is_right(client.infer("simple", pair(grpcclient), compression_algorithm=algorithm))


@check
def mistakes(module, client):
    def infer(inputs, **options):
        return client.infer("simple", inputs, **options)

    zero, one = pair(module)
    fails("Request for unknown model: 'wrong_model_name'", client.infer, "wrong_model_name", [zero, one])
    fails("'simple' version '9' is not found", infer, [zero, one], model_version="9")
    text = "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required input(s) ['INPUT1']"
    fails(text, infer, [zero])
    short = tensor(module, "INPUT0", numpy.ones((1, 8), dtype=numpy.int32))
    fails("unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,8]", infer, [short, one])
    floats = tensor(module, "INPUT0", ZEROS_UP.astype(numpy.float32))
    fails("inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'", infer, [floats, one])
    other = tensor(module, "OTHER", ZEROS_UP)
    fails("unexpected inference input 'OTHER' for model 'simple'", infer, [zero, other])
    unknown = [module.InferRequestedOutput("OTHER")]
    fails("unexpected inference output 'OTHER' for model 'simple'", infer, [zero, one], outputs=unknown)


@check
def statistics(module, client):
    stats = client.get_inference_statistics("simple", **as_json(module))["model_stats"][0]
    before = int(stats["inference_count"])
    is_right(client.infer("simple", pair(module)))
    stats = client.get_inference_statistics("simple", "1.0.0", **as_json(module))["model_stats"][0]
    assert int(stats["inference_count"]) == before + 1, stats
    for name in ("success", "queue", "compute_infer"):
        assert int(stats["inference_stats"][name]["count"]) > 0, stats
    assert len(client.get_inference_statistics(**as_json(module))["model_stats"]) > 1
    fails("Request for unknown model", client.get_inference_statistics, "wrong_model_name")


@check
def model_control(module, client):
    client.load_model("simple")
    assert client.is_model_ready("simple")
    client.unload_model("simple")
    assert not client.is_model_ready("simple")
    index = client.get_model_repository_index(**as_json(module))
    index = index if isinstance(index, list) else index["models"]
    (entry,) = [entry for entry in index if entry["name"] == "simple"]
    assert (entry["version"], entry["state"], entry["reason"]) == ("1.0.0", "UNAVAILABLE", "unloaded"), entry
    client.load_model("simple")
    assert client.is_model_ready("simple")
    fails("failed to load 'wrong_model_name'", client.load_model, "wrong_model_name")
    fails("failed to load 'simple'", client.load_model, "simple", config='{"max_batch_size": 1}')


@check
def cancelling_and_deadlines():
    endless = [tensor(grpcclient, "iterations", numpy.array([ENDLESS], dtype=numpy.int64))]
    once = [tensor(grpcclient, "iterations", numpy.array([1], dtype=numpy.int64))]
    with grpcclient.InferenceServerClient(GRPC) as client:
        fails("Deadline Exceeded", client.infer, "slow", endless, client_timeout=1)
        assert client.infer("slow", once).as_numpy("sum").tolist() == [64.0]
        answers = queue.Queue()
        call = client.async_infer("slow", endless, lambda result, error: answers.put((result, error)))
        call.cancel()
        result, error = answers.get(timeout=60)
        assert result is None and "cancelled" in error.message().lower(), error
        # Had the run gone on, this one would wait behind it.
        assert client.infer("slow", once).as_numpy("sum").tolist() == [64.0]


@check
def names_and_numbers_are_tritons():
    """What the host says of itself against the descriptors of the client: names, numbers, types."""
    # KServe's fields, in messages that have none in Triton's.
    added = {"RepositoryModelLoadResponse", "RepositoryModelUnloadResponse"}
    with grpc.insecure_channel(GRPC) as channel:
        served = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service = served.FindServiceByName("inference.GRPCInferenceService")
        theirs = service_pb2.DESCRIPTOR.services_by_name[service.name]
        for method in service.methods:
            their = theirs.methods_by_name[method.name]
            for side in ("input_type", "output_type"):
                assert getattr(method, side).full_name == getattr(their, side).full_name, method.name
            assert method.client_streaming == their.client_streaming and method.server_streaming == their.server_streaming
        compared = 0
        for file, known in (("grpc_service.proto", service_pb2), ("model_config.proto", model_config_pb2)):
            pairs = [
                (message, known.DESCRIPTOR.message_types_by_name[name])
                for name, message in served.FindFileByName(file).message_types_by_name.items()
                if name not in added
            ]
            while pairs:
                ours, their = pairs.pop()
                pairs += [(nested, their.nested_types_by_name[nested.name]) for nested in ours.nested_types]
                for enum in ours.enum_types:
                    expected = {value.name: value.number for value in their.enum_types_by_name[enum.name].values}
                    assert {value.name: value.number for value in enum.values} == expected, enum.full_name
                for field in ours.fields:
                    other = their.fields_by_name[field.name]
                    same = ("number", "type", "is_repeated")
                    for what in same:
                        assert getattr(field, what) == getattr(other, what), (field.full_name, what)
                    kind, other_kind = field.message_type or field.enum_type, other.message_type or other.enum_type
                    assert (kind and kind.full_name) == (other_kind and other_kind.full_name), field.full_name
                    compared += 1
        assert compared > 130, compared


@check
def what_is_not_served():
    with grpcclient.InferenceServerClient(GRPC) as client:
        fails("shared memory is not supported", client.get_system_shared_memory_status)
        fails("shared memory is not supported", client.get_cuda_shared_memory_status)
        fails("tracing is not supported", client.get_trace_settings)
        fails("when the host starts", client.get_log_settings)


print("all checks passed")
