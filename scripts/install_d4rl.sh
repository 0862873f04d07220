#!/usr/bin/env bash
# The stack the papers used (d4rl 1.1, gym 0.23.1, mujoco-py 2.1, MuJoCo 2.1.0) in an environment of its own, on Python 3.11.
#
#   scripts/install_d4rl.sh [DIR]      default .venv-d4rl; then:  source DIR/bin/activate
#
# Why it is not one pip install: mujoco-py compiles against headers at first import, needs cython < 3, and must be
# built with the numpy it runs with; d4rl's metadata asks for packages that are no longer published (hence --no-deps);
# the MuJoCo 2.1.0 binaries are taken from the wheel of free-mujoco-py, so that PyPI and Debian are all it needs.
set -euo pipefail
dir=$(realpath -m "${1:-.venv-d4rl}")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
began=$SECONDS

system_packages() {
    local missing=()
    for package in libosmesa6-dev libglfw3 libgl1-mesa-dev patchelf gcc unzip; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "install_d4rl.sh: these Debian packages are missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
        exit 2
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "${missing[@]}" >/dev/null || {
        echo "install_d4rl.sh: apt-get could not install ${missing[*]}" >&2
        exit 2
    }
}

mujoco_binaries() {
    local scratch
    scratch=$(mktemp -d)
    "$dir/bin/pip" download -q --no-deps --only-binary=:all: --python-version 3.10 -d "$scratch" free-mujoco-py
    unzip -q "$scratch"/*.whl -d "$scratch/wheel"
    rm -rf "$dir/mujoco210"
    mv "$(find "$scratch/wheel" -type d -path '*binaries/linux/mujoco210')" "$dir/mujoco210"
    rm -rf "$scratch"
}

activation() {
    cat >>"$dir/bin/activate" <<EOF

# d4rl: where mujoco-py finds MuJoCo 2.1.0, and no noise about the parts of d4rl that are not installed
export MUJOCO_PY_MUJOCO_PATH="$dir/mujoco210"
export LD_LIBRARY_PATH="$dir/mujoco210/bin\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export D4RL_SUPPRESS_IMPORT_ERROR=1
EOF
}

system_packages
"$python" -m venv "$dir"
"$dir/bin/pip" install -q "numpy==1.26.4" "setuptools<66" "cython<3" wheel
"$dir/bin/pip" install -q --no-build-isolation "gym==0.23.1" "mujoco-py==2.1.2.14"
"$dir/bin/pip" install -q --no-deps "d4rl==1.1"
# d4rl's own needs, and this project's with its pins, but for what needs a later numpy
grep -Ev '^(numpy|pandas)=' requirements.txt >"$dir/requirements.txt"
"$dir/bin/pip" install -q "numpy==1.26.4" "pandas==2.3.3" h5py termcolor click glfw fasteners imageio pybullet dm-control \
    -r "$dir/requirements.txt" pytest hypothesis
mujoco_binaries
activation
# the first import compiles mujoco-py's extension
# shellcheck disable=SC1091
source "$dir/bin/activate"
python -c "import mujoco_py" >"$dir/mujoco_py_build.log" 2>&1 || {
    tail -n 20 "$dir/mujoco_py_build.log" >&2
    echo "install_d4rl.sh: mujoco-py did not build; the whole log is $dir/mujoco_py_build.log" >&2
    exit 1
}
echo "d4rl is ready after $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s: source $dir/bin/activate"
