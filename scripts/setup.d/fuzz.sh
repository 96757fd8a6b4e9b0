# shellcheck shell=bash
# A C++ compiler, with which `make fuzz` and `make lint` compile LLVM's fuzzer.
#
# Needs from scripts/setup: say, debian_install.

fuzz() {
    command -v c++ >/dev/null || debian_install fuzz g++
    say fuzz "found, $(command -v c++)"
}
