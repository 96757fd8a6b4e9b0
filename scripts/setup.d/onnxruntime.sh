# shellcheck shell=bash
# The ONNX Runtime library (CPU), from its wheel on the Python package index. Only the library and its licences are kept.
# pip checks the wheel against the hash in onnxruntime.txt, which also pins the version.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, python_pip.
# shellcheck disable=SC2154

onnxruntime() {
    onnxruntime_wheel "ONNX Runtime" onnxruntime "Linux-x86_64 Linux-aarch64"
}

# Installs the library of a package that setup.d/NAME.txt pins, and further libraries by name, for one of the systems listed.
# The tool folder has it under the package's name.
onnxruntime_wheel() {
    local label=$1 name=$2 systems=$3
    shift 3
    local package=${name//_/-} pins=$repository/scripts/setup.d/$name.txt version target
    version=$(sed -n "s/^$package==\([0-9.]*\).*/\1/p" "$pins")
    target=$tools/$package/$version
    if [ -e "$target/libonnxruntime.so" ]; then
        say "$label" "found, $target/libonnxruntime.so"
        return
    fi

    local machine system
    machine=$(uname -m)
    system=$(uname -s)-$machine
    case " $systems " in
        *" $system "*) ;;
        *) fail "$label" "no pinned library for $system; put one of version $version at $target/libonnxruntime.so" ;;
    esac
    say "$label" "downloading $version for $machine"

    local download="$tools/$package/.download.$$"
    onnxruntime_download=$download
    trap 'rm -rf "$onnxruntime_download"' EXIT
    mkdir -p "$download/content"
    # The wheel is made for one Python, which does not matter: only the libraries inside are used.
    python_pip "$label" download --quiet --no-deps --only-binary=:all: --dest "$download" \
        --implementation cp --python-version 3.12 --platform "manylinux_2_28_$machine" --require-hashes --requirement "$pins" \
        || fail "$label" "pip could not download $package $version, see above; is the Python package index reachable?"
    python3 - "$download"/onnxruntime*.whl "$download/content" "$@" <<'PYTHON' || fail "$label" "the wheel could not be unpacked, see above"
import pathlib, shutil, sys, zipfile

wheel, folder, further = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
kept = {"onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt", *(f"onnxruntime/capi/{name}" for name in further)}
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.namelist():
        name = entry.rsplit("/", 1)[-1]
        if entry.startswith("onnxruntime/capi/libonnxruntime.so"):
            name = "libonnxruntime.so"
        elif entry not in kept:
            continue
        with archive.open(entry) as source, open(folder / name, "wb") as copy:
            shutil.copyfileobj(source, copy)
missing = [name for name in ("libonnxruntime.so", *further) if not (folder / name).exists()]
if missing:
    sys.exit(f"{wheel} does not hold {', '.join(missing)}")
PYTHON
    # One rename makes the whole folder appear, so a set-up that was interrupted, or one that runs beside, leaves no half of it.
    mv -T "$download/content" "$target" 2>/dev/null || [ -e "$target/libonnxruntime.so" ] \
        || fail "$label" "$target could not be written; is the disk full or the folder there already?"
    say "$label" "installed, $target/libonnxruntime.so"
}
