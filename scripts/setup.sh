#!/usr/bin/env bash
# Make .venv: Python 3.11, torch, our packages, and what is needed to draw without a screen. Run again at any time: what
# is done stays done, and a change of the pins or of this file redoes it. Usage: make setup, or with a choice:
#   EXTRAS=maniskill,dev,libero   packages for other simulators and devices; chosen once, remembered
#   TORCH_INDEX_URL=...           where to take torch from, for a CPU-only or a particular CUDA build
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
python=.venv/bin/python
log=.venv/setup.log
libraries=(libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libgles2 libglib2.0-0)

say() { echo "  $*"; }

stop() { printf '%s\n' "$@" >&2; exit 1; }

logged() {  # run quietly; show the end of the log when it fails
  echo "+ $*" >> "$log"
  "$@" < /dev/null >> "$log" 2>&1 || stop "setup stopped: this failed, and the whole log is in $log" "  $*" "$(tail -n 15 "$log")"
}

is_311() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' > /dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in python3.11 python3 python; do
    if is_311 "$candidate"; then echo "$candidate"; return; fi
  done
  if command -v uv > /dev/null; then
    say "no Python 3.11 with venv here; uv fetches one" >&2
    uv python install --quiet 3.11 >&2 && uv python find 3.11 && return
  fi
  stop "setup stopped: Python 3.11 with its venv module was not found; nothing was installed. Install one of" \
    "  sudo apt-get install python3.11 python3.11-venv   (Debian 12, Ubuntu 22.04)" \
    "  uv python install 3.11                            (anywhere, with uv)" \
    "  conda create -n py311 python=3.11 && conda activate py311" "then: make setup"
}

make_venv() {
  if [ ! -e .venv ]; then
    local found; found=$(find_python)
    say ".venv with $("$found" --version) ($found)"
    "$found" -m venv .venv
  fi
  is_311 "$python" || stop "setup stopped: .venv holds no working Python 3.11; nothing was changed. Type: rm -rf .venv && make setup"
}

install_packages() {
  logged "$python" -m pip install --quiet --upgrade pip
  local torch; torch=$(grep '^torch==' constraints.txt)
  say "$torch, alone and first"
  logged "$python" -m pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
  say "embodied-rl[$extras]"
  logged "$python" -m pip install -c constraints.txt -e ".[$extras]"
  case ",$extras," in *,libero,*) logged "$python" -m pip install -c constraints.txt --no-deps hf-libero ;; esac
}

works() { "$python" -m embodied.doctor "$1" >> "$log" 2>&1 < /dev/null; }

drawing() {  # MuJoCo draws through EGL
  works rendering && { say "MuJoCo draws"; return; }
  local root=() type="sudo apt-get install -y ${libraries[*]}"
  if ! command -v apt-get > /dev/null; then
    type="(with your package manager) install Mesa's EGL, OpenGL and GLES libraries and their software driver"
  elif [ "$(id -u)" = 0 ] || { root=(sudo -n); sudo -n true 2> /dev/null; }; then
    say "system libraries for drawing: ${libraries[*]}"
    install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120)
    { "${root[@]}" "${install[@]}" "${libraries[@]}" || { "${root[@]}" apt-get update && "${root[@]}" "${install[@]}" "${libraries[@]}"; }; } >> "$log" 2>&1 < /dev/null || true
    works rendering && { say "MuJoCo draws"; return; }
  fi
  graphics=incomplete
  say "MuJoCo cannot draw here yet; what has no pictures works. Type: $type"
}

vulkan() {  # ManiSkill opens a Vulkan device, even for states
  "$python" -c 'import sys; from embodied.environment import has_gpu; sys.exit(has_gpu())' && { scripts/vulkan.sh .venv/share/mesa >> "$log" 2>&1 < /dev/null || true; }
  works vulkan && { say "ManiSkill runs"; return; }
  graphics=incomplete
  say "ManiSkill cannot run here yet; everything else can. \`.venv/bin/embodied doctor\` says why and what to type"
}

[ "$(uname -s)" = Linux ] && standard=maniskill,dev || standard=dev  # SAPIEN has no wheels elsewhere
extras=${EXTRAS:-$(cat .venv/.extras 2> /dev/null || echo "$standard")}
key=$({ cat pyproject.toml constraints.txt scripts/setup.sh scripts/vulkan.sh; echo "$PWD" "$extras" "${TORCH_INDEX_URL:-}"; } | cksum)
if [ "$(cat .venv/.setup 2> /dev/null)" = "$key" ] && [ -x "$python" ]; then exit 0; fi

echo "Setting up .venv (a few minutes the first time; log in $log)"
make_venv
: > "$log"
if [ "$(cat .venv/.packages 2> /dev/null)" != "$key" ]; then
  install_packages
  echo "$extras" > .venv/.extras
  echo "$key" > .venv/.packages
fi
graphics=complete
drawing
case ",$extras," in *,maniskill,*) vulkan ;; esac
[ $graphics = complete ] && echo "$key" > .venv/.setup
echo "Ready after $((SECONDS - started)) s: \`make train\` trains a policy, \`.venv/bin/embodied doctor\` says what this machine can do."
