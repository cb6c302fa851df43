package dirstore

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// Our metadata beside those of package storage.
const (
	metaEncoding = "content_encoding" // "gzip", or missing
	metaStored   = "stored_size"      // bytes of the file
)

// maxMeta bounds the reading of a metadata file. Ours are below 200 bytes.
const maxMeta = 4 << 10

// encodeMeta returns the metadata file of an object that is stored as a file of the given size.
func encodeMeta(obj upload.Object, stored int64) []byte {
	meta := storage.Metadata(obj)
	meta[metaStored] = strconv.FormatInt(stored, 10)
	if obj.Gzip {
		meta[metaEncoding] = "gzip"
	}
	text, _ := json.Marshal(meta) // a map of strings always has a JSON form
	return append(text, '\n')
}

// describe returns the description of the data at loc. With missing, broken or mismatched metadata the content is unknown.
func (p pair) describe(loc upload.Location) upload.Object {
	if p.meta[metaStored] == strconv.FormatInt(p.info.Size(), 10) {
		return p.recorded()
	}
	// A .sym begins like a gzip stream only if it is one.
	var magic [2]byte
	_, err := p.ReadAt(magic[:], 0)
	gzip := err == nil && loc.Key.IsSym() && magic == [2]byte{0x1f, 0x8b}
	return upload.Object{Size: -1, Modified: p.info.ModTime(), Gzip: gzip}
}

// recorded returns the metadata's description, even for data of another size.
func (p pair) recorded() upload.Object {
	obj := upload.Object{Modified: p.info.ModTime(), Gzip: p.meta[metaEncoding] == "gzip"}
	obj.Size, obj.MD5 = storage.ParseMetadata(p.meta)
	return obj
}

// readMeta reads a metadata file. The result is empty if the file is missing or not ours.
func readMeta(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return nil, err
	}
	var meta map[string]string
	if json.Unmarshal(text, &meta) != nil {
		return nil, nil
	}
	return meta, nil
}
