#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs what is missing to build, demonstrate or test whystall on Debian or Ubuntu. Looks at dpkg's own list
# first: where everything is there it says nothing and needs no network. Asks nothing.
#
#   tools/install-deps.sh GROUP...        installs what GROUPs lack (build, demo, check, bench, wheel)
#   tools/install-deps.sh --say GROUP...  only prints the line that would install it; status 1 if there is one
set -eu

build="gcc clang libbpf-dev libc6-dev make pkg-config libdw-dev libelf-dev libsqlite3-dev libjansson-dev libiberty-dev"
demo="python3 python3-fastapi python3-uvicorn python3-dbg"
check="python3-pytest python3-pip python3-jsonschema python3-prometheus-client python3-uvloop python3-trio python3-gevent python3-tornado python3-twisted
	python3-aiohttp python3-celery gunicorn redis-server nginx-light nodejs ruby libuv1-dev libevent-dev libcmocka-dev clang clang-format clang-tidy cppcheck
	musl-tools g++ rustc debootstrap uwsgi-core uwsgi-plugin-python3 strace sqlite3 binutils util-linux passwd libcap2-bin redis-server zsh python3-venv
	dpkg-dev lintian"
# CPython's own tests of Debian's python3, whose version is in the name
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.11)
check="$check libpython$version-testsuite"
# so has what clang's sanitizers and fuzzer are linked with, which clang only recommends
version=$(clang -dumpversion 2>/dev/null || apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
version=${version%%.*}
check="$check libclang-rt-${version:-14}-dev"
bench="wrk"
# what the one file in the wheel is linked with
wheel="python3 liblzma-dev libbz2-dev libzstd-dev zlib1g-dev"
# the 32-bit compiler exists on 64-bit x86 only
[ "$(uname -m)" = x86_64 ] && check="$check gcc-multilib"

say=
[ "${1-}" = --say ] && say=1 && shift

wanted=
for group; do
	case $group in
	build) wanted="$wanted $build" ;;
	demo) wanted="$wanted $demo" ;;
	check) wanted="$wanted $check" ;;
	bench) wanted="$wanted $bench" ;;
	wheel) wanted="$wanted $wheel" ;;
	*)
		echo "install-deps.sh: no group called $group: build, demo, check, bench, wheel" >&2
		exit 2
		;;
	esac
done

if ! command -v dpkg-query >/dev/null; then
	echo "install-deps.sh: this is neither Debian nor Ubuntu; install by their names here:$wanted" >&2
	exit 1
fi

missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null) in
	*"install ok installed"*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo "
if [ -n "$say" ]; then
	echo "${sudo}apt-get install -y$missing"
	exit 1
fi
if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
	echo "install-deps.sh: not root, and there is no sudo; as root: apt-get install -y$missing" >&2
	exit 1
fi

echo "Installing what is missing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt="${sudo:+sudo -E }apt-get -q"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A list of packages that is already there may do; a fresh machine has none.
# shellcheck disable=SC2086
if ! $apt install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null; then
	echo "Fetching the list of packages first"
	$apt update >"$log" 2>&1 </dev/null || true
	$apt install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null || {
		tail -n 20 "$log" >&2
		echo "install-deps.sh: apt-get could not install$missing" >&2
		exit 1
	}
fi
