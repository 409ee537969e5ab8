#!/usr/bin/env bash
# Make .venv: Python 3.11, torch, our packages, and what is needed to draw without a screen. Run again at any time: what
# is done stays done, and a change of the pins or of this file redoes it. Usage: make setup, or with a choice:
#   EXTRAS=maniskill,dev,hil      packages for other simulators and devices; chosen once, remembered
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

apt_install() {
  local root=() get=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
  [ "$(id -u)" = 0 ] || root=(sudo -n)
  "${root[@]}" "${get[@]}" install -y --no-install-recommends "$@" && return
  "${root[@]}" "${get[@]}" update && "${root[@]}" "${get[@]}" install -y --no-install-recommends "$@"
} < /dev/null 2>> "$log" >> "$log"

may_install() { command -v apt-get > /dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null; }; }

drawing() {  # MuJoCo draws through EGL
  works rendering && { say "MuJoCo draws"; return; }
  if may_install; then
    say "system libraries for drawing: ${libraries[*]}"
    apt_install "${libraries[@]}" && works rendering && { say "MuJoCo draws"; return; }
  fi
  graphics=incomplete
  say "MuJoCo cannot draw here yet; what needs no pictures works. Install Mesa's EGL and OpenGL; on Debian and Ubuntu type:"
  say "  sudo apt-get install -y ${libraries[*]} && make setup"
}

vulkan() {  # ManiSkill opens a Vulkan device, even for states
  local advice=""
  if "$python" -c 'import sys; from embodied.environment import has_gpu; sys.exit(has_gpu())'; then
    scripts/vulkan.sh .venv/share/mesa > .venv/vulkan.log 2>&1 < /dev/null || advice=$(grep -A 1 '^ManiSkill will not' .venv/vulkan.log || true)
    cat .venv/vulkan.log >> "$log"
  fi
  works vulkan && { touch .venv/.vulkan; say "ManiSkill runs"; return; }
  graphics=incomplete
  advice=${advice//$'\n'/$'\n    '}
  say "${advice:-ManiSkill cannot run here yet; everything else can. Why, and what to type: .venv/bin/embodied doctor vulkan}"
}

browser() {  # the page of `embodied report` is tested in it
  command -v chromium > /dev/null && command -v chromedriver > /dev/null && { say "Chromium is there"; return; }
  if may_install; then
    say "Chromium, in which the page of a report is tested"
    apt_install chromium chromium-driver && return
  fi
  say "no Chromium: the tests of a report's page are skipped; on Debian: sudo apt-get install -y chromium chromium-driver"
}

[ "$(uname -s)" = Linux ] && standard=maniskill,libero,data,dev || standard=data,dev  # SAPIEN has no wheels elsewhere
extras=${EXTRAS:-$(cat .venv/.extras 2> /dev/null || echo "$standard")}
key=$({ cat pyproject.toml constraints.txt scripts/setup.sh scripts/vulkan.sh; echo "$PWD" "$extras" "${TORCH_INDEX_URL:-}"; } | cksum)
if [ "$(cat .venv/.packages 2> /dev/null)" = "$key" ] && [ -x "$python" ]; then
  # a driver that was not to be had is looked for again by `make setup`, not by every `make train`
  if [ "${1:-}" = --quick ] || [ -e .venv/.graphics ]; then exit 0; fi
fi

echo "Setting up .venv (a few minutes the first time; log in $log)"
make_venv
: > "$log"
if [ "$(cat .venv/.packages 2> /dev/null)" != "$key" ]; then
  install_packages
  echo "$extras" > .venv/.extras
  echo "$key" > .venv/.packages
fi
graphics=complete
rm -f .venv/.graphics .venv/.vulkan
drawing
case ",$extras," in *,maniskill,*) vulkan ;; esac
case ",$extras," in *,dev,*) browser ;; esac
[ $graphics = incomplete ] || touch .venv/.graphics
if [ $graphics = complete ]; then
  echo "Ready after $((SECONDS - started)) s: \`make train\` trains a policy, \`.venv/bin/embodied doctor\` says what this machine can do."
else
  echo "Ready after $((SECONDS - started)) s, without what is said above; \`.venv/bin/embodied doctor\` says more."
fi
