#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A Debian package out of a build directory: what `make install` puts in place, and the papers that a package has.
# Plain dpkg-deb; what it depends on is what dpkg-shlibdeps finds.
#
#   tools/deb.sh BUILD       writes BUILD/whystall_VERSION_ARCHITECTURE.deb
set -eu

build=$1
for tool in dpkg-deb dpkg-shlibdeps; do
	command -v $tool >/dev/null || {
		echo "deb.sh: $tool is missing: apt-get install dpkg-dev" >&2
		exit 1
	}
done
version=$(sed -n 's/^#define VERSION "\(.*\)"/\1/p' cli/util.h)
architecture=$(dpkg --print-architecture)
# the last change's time, so that the same source makes the same package
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y NEWS.md)}
export SOURCE_DATE_EPOCH
maintainer="${DEBFULLNAME:-whystall developers} <${DEBEMAIL:-$(git log -1 --format=%ae 2>/dev/null || echo root@localhost.localdomain)}>"
work=$build/deb
root=$work/root
doc=$root/usr/share/doc/whystall
rm -rf "$work"
mkdir -p "$doc" "$root/DEBIAN" "$work/debian"

${MAKE:-make} --no-print-directory install BUILD="$build" DESTDIR="$root" PREFIX=/usr >/dev/null
mkdir -p "$root/usr/share/zsh/vendor-completions"
mv "$root/usr/share/zsh/site-functions/_whystall" "$root/usr/share/zsh/vendor-completions/_whystall"
rmdir "$root/usr/share/zsh/site-functions"
chmod 644 "$root/usr/lib/whystall/libwhystall.so"
strip --remove-section=.comment --remove-section=.note "$root/usr/bin/whystall"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/lib/whystall/libwhystall.so"
gzip -9n "$root/usr/share/man/man1/whystall.1"
gzip -9nc NEWS.md >"$doc/NEWS.md.gz"

cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: whystall

Files: *
Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE)
License: MIT
$(sed '1,/^Permission/{/^Permission/!d}; s/^$/./; s/^/ /' LICENSE)
END
gzip -9nc >"$doc/changelog.gz" <<END
whystall ($version) unstable; urgency=medium

  * See NEWS.md.gz.

 -- $maintainer  $(LC_ALL=C date -R -u -d "@$SOURCE_DATE_EPOCH")
END

mkdir -p "$root/usr/share/lintian/overrides"
cat >"$root/usr/share/lintian/overrides/whystall" <<END
# It reads the lists of files of another root's packages (a container's), in which no dpkg-query may be run.
whystall: uses-dpkg-database-directly [usr/bin/whystall]
END

# dpkg-shlibdeps wants to be where a source package is
printf 'Source: whystall\n\nPackage: whystall\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info root/usr/bin/whystall root/usr/lib/whystall/libwhystall.so 2>/dev/null |
	sed -n 's/^shlibs:Depends=//p')
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<END
Package: whystall
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -k -s --apparent-size "$root/usr" | cut -f1)
Depends: $depends
Suggests: python3-dbg
Section: devel
Priority: optional
Description: tell why the event loop of a live process stalls
 One slow coroutine, one thread that keeps Python's GIL, one lock held too long,
 and every request waits. whystall measures every turn of a program's event loop
 exactly and gives each stall a verdict: the cause, the thread that caused it,
 its function with file and line, and what to do about it.
 .
 A program runs under a preloaded library and needs no change, or is joined
 while it runs, with eBPF; "whystall check" makes a gate for continuous
 integration of it.
END
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
chmod -R u+rwX,go+rX,go-w "$root"
dpkg-deb --root-owner-group -Zxz --build "$root" "$build/whystall_${version}_$architecture.deb" >/dev/null
echo "  $build/whystall_${version}_$architecture.deb"
