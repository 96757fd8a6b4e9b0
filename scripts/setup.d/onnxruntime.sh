# shellcheck shell=bash
# The ONNX Runtime library (CPU), from its wheel on the Python package index. Only the library and its licences are kept.
# pip checks the wheel against the hash in onnxruntime.txt, which also pins the version.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, python_pip.
# shellcheck disable=SC2154

onnxruntime() {
    local pins=$repository/scripts/setup.d/onnxruntime.txt version target
    version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$pins")
    target=$tools/onnxruntime/$version
    if [ -e "$target/libonnxruntime.so" ]; then
        say "ONNX Runtime" "found, $target/libonnxruntime.so"
        return
    fi

    local machine
    machine=$(uname -m)
    case $(uname -s)-$machine in
        Linux-x86_64 | Linux-aarch64) ;;
        *) fail "ONNX Runtime" "no pinned library for $(uname -s) $machine; put one of version $version at $target/libonnxruntime.so" ;;
    esac
    say "ONNX Runtime" "downloading $version for $machine"

    local download="$tools/onnxruntime/.download.$$"
    onnxruntime_download=$download
    trap 'rm -rf "$onnxruntime_download"' EXIT
    mkdir -p "$download/content"
    # The wheel is made for one Python, which does not matter: only the library inside is used.
    python_pip "ONNX Runtime" download --quiet --no-deps --only-binary=:all: --dest "$download" \
        --implementation cp --python-version 3.12 --platform "manylinux_2_28_$machine" --require-hashes --requirement "$pins" \
        || fail "ONNX Runtime" "pip could not download onnxruntime $version, see above; is the Python package index reachable?"
    python3 - "$download"/onnxruntime-*.whl "$download/content" <<'PYTHON' || fail "ONNX Runtime" "the wheel could not be unpacked, see above"
import pathlib, shutil, sys, zipfile

wheel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.namelist():
        name = entry.rsplit("/", 1)[-1]
        if entry.startswith("onnxruntime/capi/libonnxruntime.so"):
            name = "libonnxruntime.so"
        elif entry not in ("onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"):
            continue
        with archive.open(entry) as source, open(folder / name, "wb") as copy:
            shutil.copyfileobj(source, copy)
if not (folder / "libonnxruntime.so").exists():
    sys.exit(f"{wheel} holds no libonnxruntime.so")
PYTHON
    # One rename makes the whole folder appear, so a set-up that was interrupted, or one that runs beside, leaves no half of it.
    mv -T "$download/content" "$target" 2>/dev/null || [ -e "$target/libonnxruntime.so" ] \
        || fail "ONNX Runtime" "$target could not be written; is the disk full or the folder there already?"
    say "ONNX Runtime" "installed, $target/libonnxruntime.so"
}
