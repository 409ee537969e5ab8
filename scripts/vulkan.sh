#!/usr/bin/env bash
# A software Vulkan driver for ManiSkill on machines without a GPU: Mesa 25 from Debian's backports, unpacked into PREFIX.
# Debian 12's own Mesa 22 lacks descriptor indexing, which SAPIEN needs even for state observations. Nothing of the
# system is changed and no root is needed. Usage: scripts/vulkan.sh PREFIX
set -euo pipefail
prefix=$(mkdir -p "$1" && cd "$1" && pwd)
icd="$prefix/lvp_icd.json"
[ -s "$icd" ] && { echo "software Vulkan driver: $icd"; exit 0; }

advice="ManiSkill will not run on this CPU until a Vulkan driver with descriptor indexing (Mesa >= 23) is installed; everything else will.
Type: sudo apt-get install mesa-vulkan-drivers   (Debian 13, Ubuntu 24.04 or newer), then: make setup"

system=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -n 1 || true)
mesa=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null || true)
if [ -n "$system" ] && [ -n "$mesa" ] && dpkg --compare-versions "$mesa" ge 23; then
  cp "$system" "$icd"; echo "software Vulkan driver: the system's Mesa $mesa"; exit 0
fi
codename=$(. /etc/os-release 2>/dev/null; echo "${VERSION_CODENAME:-}")
if [ "$codename" != bookworm ] || ! command -v apt-get >/dev/null; then echo "$advice" >&2; exit 1; fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# the machine's own mirror, whichever of the two formats its sources are written in
uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '/^URIs:/ && /debian/ && !/security/ {print $2; exit}')
[ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | awk '$1=="deb" {for (i=2;i<=NF;i++) if ($i ~ /^https?:.*debian\/?$/) {print $i; exit}}')
[ -n "$uri" ] || { echo "$advice" >&2; exit 1; }
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in bookworm bookworm-updates bookworm-backports; do echo "deb [signed-by=$keyring] $uri $suite main"; done > "$work/sources.list"
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update || { echo "$advice" >&2; exit 1; }
cd "$work"
b=bookworm-backports
"${apt[@]}" download "mesa-vulkan-drivers/$b" "libdrm2/$b" "libdrm-amdgpu1/$b" || { echo "$advice" >&2; exit 1; }
for deb in ./*.deb; do dpkg -x "$deb" "$prefix"; done
library=$(find "$prefix" -name 'libvulkan_lvp.so' | head -n 1)
manifest=$(find "$prefix" -name 'lvp_icd*.json' -path '*icd.d*' | head -n 1)
sed "s#\"library_path\": *\"[^\"]*\"#\"library_path\": \"$library\"#" "$manifest" > "$icd.part" && mv "$icd.part" "$icd"
echo "software Vulkan driver: $icd"
