package storage

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Config is where symbol files are kept: a directory or a bucket.
type Config struct {
	Dir string // a plain path, relative or absolute; empty: in S3

	Bucket    string
	Prefix    string   // prefix of every object key, with a final slash; empty: none
	Region    string   // empty: from the SDK's configuration
	Endpoint  string   // http or https URL of an S3-compatible server; empty: Amazon's
	PathStyle bool     // the bucket is the first part of the path, not of the host name
	Checksum  Checksum // empty: from the SDK's configuration
}

// A Checksum is how S3 checks a body it receives.
type Checksum string

// The checksums. Some S3s refuse or ignore the first.
const (
	CRC32      Checksum = "crc32" // x-amz-checksum-crc32, known before the body is read
	MD5        Checksum = "md5"   // Content-MD5, as old as S3
	NoChecksum Checksum = "none"  // the SHA-256 in the signature alone: each body is read twice
)

// maxPrefix is the longest prefix in bytes. With the longest key it stays below S3's 1,024 bytes.
const maxPrefix = 400

// bucketName is S3's rule, without its finer points.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseURL reads
//
//	file:PATH
//	s3://BUCKET[/PREFIX][?region=REGION][&endpoint=URL][&path_style=true|false][&checksum=crc32|md5|none]
//
// and reports every fault it finds. The error never repeats the value, which may hold a secret by mistake.
func ParseURL(value string) (Config, error) {
	if path, ok := strings.CutPrefix(value, "file:"); ok {
		if path == "" || strings.HasPrefix(path, "//") || strings.ContainsRune(path, 0) {
			return Config{}, errors.New("file: takes a plain path, as in file:data/symbols or file:/srv/symbols")
		}
		return Config{Dir: path}, nil
	}
	if !strings.HasPrefix(value, "s3://") {
		return Config{}, errors.New("storage is either file:PATH or s3://BUCKET?region=REGION")
	}
	u, err := url.Parse(value)
	if err != nil {
		return Config{}, errors.New("not a valid URL")
	}
	return parseS3(u)
}

func parseS3(u *url.URL) (Config, error) {
	c := Config{Bucket: u.Host}
	var faults []error
	if u.User != nil {
		faults = append(faults, errors.New("the URL must not have credentials: they come from the environment"))
	}
	if !bucketName.MatchString(c.Bucket) {
		faults = append(faults, fmt.Errorf("%q is not a bucket name", c.Bucket))
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		c.Prefix = prefix + "/"
	}
	if !validPrefix(u.Path) || u.Fragment != "" {
		faults = append(faults, fmt.Errorf("the prefix must be printable names without a backslash, other than . and .., with one slash between them, and %d bytes at most", maxPrefix))
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		faults = append(faults, errors.New("the parameters are not validly escaped"))
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		if len(values) > 1 {
			faults = append(faults, fmt.Errorf("parameter %q is given %d times", name, len(values)))
		}
		if err := c.set(name, values[0]); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return Config{}, errors.Join(faults...)
	}
	return c, nil
}

// validPrefix reports whether the path of an s3 URL is empty or a prefix. "//", "." and ".." have their own meaning for some servers and
// proxies.
func validPrefix(path string) bool {
	if path == "" || path == "/" {
		return true
	}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	odd := func(r rune) bool { return r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) }
	return len(path) <= maxPrefix && !strings.ContainsFunc(path, odd)
}

// set takes one parameter of an s3 URL.
func (c *Config) set(name, value string) error {
	var err error
	switch name {
	case "region":
		c.Region = value
		if value == "" {
			return errors.New("region is empty")
		}
	case "endpoint":
		c.Endpoint = value
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("endpoint must be a plain http or https URL")
		}
	case "path_style":
		c.PathStyle, err = strconv.ParseBool(value)
		if err != nil {
			return errors.New("path_style must be true or false")
		}
	case "checksum":
		c.Checksum = Checksum(value)
		if !slices.Contains([]Checksum{CRC32, MD5, NoChecksum}, c.Checksum) {
			return errors.New("checksum must be crc32, md5 or none")
		}
	default:
		return fmt.Errorf("unknown parameter %q; known are region, endpoint, path_style and checksum", name)
	}
	return nil
}
