# shellcheck shell=bash
# What scripts/test, scripts/load and scripts/bench build besides the programs. They source it, in the directory of go.mod.

# tool NAME PACKAGE builds .tools/NAME as tools/NAME.mod says, unless that has been done.
tool() {
	local name=$1 package=$2 stamp
	stamp=$(cat "tools/$name.mod" "tools/$name.sum" <(go env GOVERSION) | sha256sum)
	[ -x ".tools/$name" ] && [ "$(cat ".tools/$name.stamp" 2>/dev/null)" = "$stamp" ] && return
	echo "    building $name (minutes, the first time)"
	mkdir -p .tools
	# Under another name first: two runs at once do not see each other's half.
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -modfile="tools/$name.mod" -o ".tools/$name.$$" "$package" &&
		mv ".tools/$name.$$" ".tools/$name" && echo "$stamp" >".tools/$name.stamp"
}

# versitygw builds the S3 server of tests and measurements.
versitygw() { tool versitygw github.com/versity/versitygw/cmd/versitygw; }

# minio builds another one, that the storage is tested against as well.
minio() { tool minio github.com/minio/minio; }
