// Mkarchive writes an archive of made-up debug symbols, to post to a server or to measure it with:
//
//	go run ./scripts/mkarchive -size 500MiB -mix sym -o symbols.zip -manifest symbols.json
//
// The same seed gives the same symbols. Other formats are made of a tar:
//
//	go run ./scripts/mkarchive -format tar | xz >symbols.tar.xz
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"tecken-upload/internal/config"
	"tecken-upload/internal/testarchive"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mkarchive:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mkarchive", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var spec testarchive.Spec
	size := 100 * config.MiB
	flags.Func("size", "about the archive's size (default 100MiB)", func(s string) error { return size.UnmarshalText([]byte(s)) })
	flags.IntVar(&spec.Members, "members", 104, "number of members")
	flags.Uint64Var(&spec.Seed, "seed", 1, "what all of it is made from")
	flags.IntVar(&spec.Level, "level", 6, "of compression, 1 to 9")
	flags.BoolVar(&spec.Store, "store", false, "do not deflate the members of a zip")
	flags.BoolVar(&spec.Listing, "listing", false, "add a listing, which servers ignore")
	mix := flags.String("mix", string(testarchive.RealMix), "real, plain (uncompressed binaries) or sym (nothing else)")
	format := flags.String("format", string(testarchive.Zip), "zip, tar, tar.gz or tar.zst")
	output := flags.String("o", "", "file to write; standard output by default")
	manifestFile := flags.String("manifest", "", "file for a list of the members and their digests, in JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	spec.Bytes, spec.Mix, spec.Format = int64(size), testarchive.Mix(*mix), testarchive.Format(*format)

	manifest, err := writeArchive(*output, stdout, spec)
	if err != nil || *manifestFile == "" {
		return err
	}
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	return os.WriteFile(*manifestFile, append(text, '\n'), 0o644)
}

// writeArchive writes to a file of this name, or to stdout. What was begun remains after an error.
func writeArchive(name string, stdout io.Writer, spec testarchive.Spec) (m testarchive.Manifest, err error) {
	out := stdout
	if name != "" {
		f, err := os.Create(name)
		if err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	buffered := bufio.NewWriterSize(out, 1<<20)
	if m, err = testarchive.Write(buffered, spec); err != nil {
		return m, err
	}
	return m, buffered.Flush()
}
