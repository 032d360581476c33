#!/usr/bin/env bash
# Build a virtual environment with fairseq and this package in it.
#   scripts/tools/build_venv.sh FOLDER [PYTHON ...]     the first PYTHON that runs is taken
# Python 3.11 to 3.13 get fairseq-fixed and a current torch; 3.9 and 3.10 get fairseq 0.12.2 and torch 1.13.
# The stages, and their order, matter: see each function.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:?usage: scripts/tools/build_venv.sh FOLDER [PYTHON ...]}
shift
candidates=("$@")
[ ${#candidates[@]} -gt 0 ] || candidates=(python3.11 python3.12 python3.13 python3.10 python3.9 python3)
# The release the tests are run with. For a build for other hardware: make TORCH=torch==2.12.0 ...
TORCH=${TORCH:-torch==2.13.0}

say() { printf '\n==> %s\n' "$*"; }

# A Python under pyenv answers to its short name only when it is switched on, so ask pyenv for it as well.
run_path() {
    local path
    if path=$("$1" -c 'import sys; print(sys.executable)' 2>/dev/null); then
        echo "$path"
    elif command -v pyenv >/dev/null && [[ $1 == python3.* ]]; then
        path=$(pyenv versions --bare 2>/dev/null | grep -E "^${1#python}\.[0-9]+$" | sort -V | tail -1) || return 1
        echo "$(pyenv root)/versions/$path/bin/python"
    else
        return 1
    fi
}

find_python() {
    local candidate path
    for candidate in "${candidates[@]}"; do
        path=$(run_path "$candidate") || continue
        "$path" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))' \
            2>/dev/null || continue
        echo "$path"
        return
    done
    echo "No usable Python among: ${candidates[*]}. Python 3.9 to 3.13 with its venv and ensurepip modules is needed" \
        "(on Debian: python3-venv). Name one with: make PYTHON=/path/to/python ..." >&2
    return 1
}

pip_install() { "$folder/bin/python" -m pip install -qq --disable-pip-version-check "$@"; }

# fairseq is compiled against the numpy and torch that are here, not against others that pip would fetch for the build.
# Of its CUDA kernels this package uses none, and they do not compile beside a CPU build of torch.
compile_fairseq() { env -u CUDA_HOME "$folder/bin/python" -m pip install -qq --disable-pip-version-check \
    --no-build-isolation "$@"; }

build_current() {
    say "1/3 installing $TORCH, numpy and build tools (1 to 5 minutes, mostly download)"
    pip_install "$TORCH" 'numpy<3' cython wheel 'setuptools>=64,<80'
    say "2/3 installing fairseq-fixed (about 2 minutes where it has to be compiled; it then needs a C++ compiler)"
    compile_fairseq fairseq-fixed==0.12.3.1
    say "3/3 installing fairseq_bso and its test tools (under a minute)"
    pip_install --no-build-isolation -e '.[dev]'
}

build_legacy() {
    say "1/3 installing numpy and build tools (under a minute)"
    # pip 24.1 and newer refuse the metadata of omegaconf 2.0.
    pip_install 'pip<24.1' 'setuptools>=64,<70' wheel 'cython<3' 'numpy<1.24'
    say "2/3 compiling fairseq 0.12.2, installing torch 1.13.1 (2 to 6 minutes; 1.8 GB of download, CUDA libraries included)"
    # In one command: pip compiles before it installs. A fairseq that finds torch while it is compiled asks for sources
    # that its release does not contain.
    compile_fairseq fairseq==0.12.2 torch==1.13.1 torchaudio==0.13.1 'numpy<1.24'
    say "3/3 installing fairseq_bso and its test tools (under a minute)"
    pip_install --no-build-isolation -e '.[demo,test]'
}

main() {
    local python clear=
    python=$(find_python)
    say "building $folder with $("$python" --version) ($python)"
    # Built again over an environment of the same Python, only what has changed is installed.
    [ "$("$folder/bin/python" --version 2>/dev/null)" = "$("$python" --version)" ] || clear=--clear
    "$python" -m venv $clear "$folder"
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then build_current; else build_legacy; fi
    "$folder/bin/python" -m pip check --disable-pip-version-check
    say "$folder is ready"
}

main
