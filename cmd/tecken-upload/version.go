package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	"tecken-upload/internal/web"
)

// The build's facts; set by the linker (-X main.version=…).
var (
	source  = ""
	version = "dev"
	commit  = ""
	build   = ""
)

// versionCommand prints the version as /__version__ answers it.
type versionCommand struct{}

// Run is called by kong.
func (versionCommand) Run(p *process) error {
	text, err := json.Marshal(buildVersion())
	if err != nil {
		return fmt.Errorf("encode the version: %w", err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	return err
}

// buildVersion returns the linker's values, else Go's own.
func buildVersion() web.Version {
	v := web.Version{Source: source, Version: version, Commit: commit, Build: build}
	info, ok := debug.ReadBuildInfo()
	if !ok || v.Commit != "" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
