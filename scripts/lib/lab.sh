# shellcheck shell=bash
# What scripts/bench, scripts/chaos, scripts/drill and scripts/load have in common. They source it, in the directory of go.mod.
. scripts/lib/tool.sh

dir=
test=
# stop STATUS: what the test has started ends with it.
stop() {
	[ -z "$test" ] || kill -9 "$test" || true
	[ -z "$dir" ] || rm -rf "$dir"
	exit "$1"
}

# lab PACKAGE ARGUMENT... runs the test binary of a package of internal/lab. What it makes is in a temporary directory, which goes with it,
# but for what it keeps; what it mounts is in a namespace of its own where there can be one, and is gone with it, however it ends.
lab() {
	local package=$1 status=0 apart=()
	shift
	trap 'stop 130' INT
	trap 'stop 143' TERM
	dir=$(mktemp -d --tmpdir "tecken-$package-XXXXXX")
	chmod 755 "$dir" # PostgreSQL has a user of its own
	CGO_ENABLED=0 go test -buildvcs=false -c -o "$dir/$package.test" "./internal/lab/$package" || stop 1
	if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then apart=(unshare --mount); fi
	TMPDIR=$dir "${apart[@]}" "$dir/$package.test" -test.timeout 0 "$@" &
	test=$!
	wait "$test" || status=$?
	rm "$dir/$package.test"
	rmdir --ignore-fail-on-non-empty "$dir"
	return "$status"
}

# usage prints the comment at the top of a script.
usage() {
	sed -n '2,/^set/{s/^# \{0,1\}//p}' "$1" >&2
	exit 2
}
