package storage

import (
	"encoding/hex"
	"strconv"
	"strings"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// The names of an object's metadata.
const (
	metaSize = "original_size"
	metaMD5  = "original_md5_hash"
)

// The prefixes of object keys.
const (
	RegularPrefix = "v1/"     // those of regular uploads
	TryPrefix     = "try/v1/" // those of try uploads
	BrokenPrefix  = "broken/" // those of broken objects that were moved out of the way, before the object keys they had
)

// ObjectKey returns the object key of loc: its symbol key behind the prefix of regular or try uploads.
func ObjectKey(loc upload.Location) string {
	if loc.Try {
		return TryPrefix + loc.Key.String()
	}
	return RegularPrefix + loc.Key.String()
}

// BrokenKey returns the object key under which the object at loc is kept once it is moved as broken.
func BrokenKey(loc upload.Location) string { return BrokenPrefix + ObjectKey(loc) }

// ParseObjectKey is the inverse of [ObjectKey]; ok is false if objectKey is none. The debug id's case is kept: other servers
// store it as it was sent.
func ParseObjectKey(objectKey string) (upload.Location, bool) {
	name, try := strings.CutPrefix(objectKey, TryPrefix)
	if !try {
		name = strings.TrimPrefix(objectKey, RegularPrefix)
	}
	key, err := symbol.ParseKey(name)
	if err != nil {
		return upload.Location{}, false
	}
	loc := upload.Location{Key: key.AsSent(strings.Split(name, "/")[1]), Try: try}
	return loc, ObjectKey(loc) == objectKey
}

// ContentType returns the media type an object of this key is stored with.
func ContentType(key symbol.Key) string {
	if key.IsSym() {
		return "text/plain"
	}
	return "application/octet-stream"
}

// Metadata returns the metadata that describe obj.
func Metadata(obj upload.Object) map[string]string {
	return map[string]string{
		metaSize: strconv.FormatInt(obj.Size, 10),
		metaMD5:  hex.EncodeToString(obj.MD5[:]),
	}
}

// ParseMetadata reads what [Metadata] wrote; the case of the names does not matter. If a value is missing or invalid it returns -1 and the
// zero MD5, an object of unknown content, equal to no other.
func ParseMetadata(meta map[string]string) (size int64, sum upload.MD5) {
	var digest []byte
	size = -1
	for name, value := range meta {
		switch strings.ToLower(name) {
		case metaSize:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				size = n
			}
		case metaMD5:
			digest, _ = hex.DecodeString(value)
		}
	}
	if size < 0 || len(digest) != len(sum) {
		return -1, upload.MD5{}
	}
	return size, upload.MD5(digest)
}
