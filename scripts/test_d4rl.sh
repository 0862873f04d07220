#!/usr/bin/env bash
# Tests in the environment of scripts/install_d4rl.sh: the real d4rl steps, and our reader equals it on the same files.
#   scripts/test_d4rl.sh [DIR]      default .venv-d4rl
set -euo pipefail
dir=$(realpath -m "${1:-.venv-d4rl}")
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091
source "$dir/bin/activate"
OMP_NUM_THREADS=1 python -m pytest -q tests/test_real_d4rl.py -W ignore "${@:2}"
