# shellcheck shell=bash
# ONNX Runtime's build for NVIDIA GPUs (about 300 MB unpacked), as the step onnxruntime has the one for the processor. It uses
# CUDA 13 and cuDNN 9, which the machine's own set-up brings; whether they are there shows when a model is loaded.
#
# Needs from scripts/setup: $repository and what the step onnxruntime needs.
# shellcheck disable=SC2154

# shellcheck source=/dev/null
source "$repository/scripts/setup.d/onnxruntime.sh"

onnxruntime_gpu() {
    onnxruntime_wheel "ONNX Runtime GPU" onnxruntime_gpu "Linux-x86_64" \
        libonnxruntime_providers_shared.so libonnxruntime_providers_cuda.so
}
