// Command tecken-upload is the symbol server: it takes archives of debug symbols from CI jobs and puts
// the symbols into storage.
//
//	tecken-upload [serve]
//	tecken-upload token create --user E-MAIL --permission upload_symbols
//	tecken-upload token list
//	tecken-upload token revoke ID
//	tecken-upload limits
//	tecken-upload verify [--repair]
//	tecken-upload sweep-storage [--dry-run]
//	tecken-upload version
//
// Settings come from the environment, or from flags of the same names; tecken-upload serve --help lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"tecken-upload/internal/config"
	"tecken-upload/internal/telemetry"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// cli is the command line.
type cli struct {
	Serve   serveCommand   `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Token   tokenCommand   `cmd:"" help:"Make, list and revoke API tokens."`
	Limits  limitsCommand  `cmd:"" help:"List tenants' leases."`
	Verify  verifyCommand  `cmd:"" help:"Read stored symbols back and find broken ones."`
	Sweep   sweepCommand   `cmd:"" name:"sweep-storage" help:"Discard what dead uploads have left in storage."`
	Version versionCommand `cmd:"" help:"Print this program's version."`
}

// process is what a command uses of its process.
type process struct {
	ctx    context.Context //nolint:containedctx // a command runs exactly once, inside of run
	stdout io.Writer
	stderr *telemetry.Lines
}

// run is the whole program. It returns the exit status: 0, 1 when a command failed, 2 when its arguments are wrong, or it could not be
// completed.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) int {
	lines := telemetry.NewLines(stderr)
	defer lines.Close(flushTimeout)
	command, err := config.Parse(&cli{}, "tecken-upload", args, lookup, stdout, lines)
	if errors.Is(err, config.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(lines, "tecken-upload: %v\n", err)
		return 2
	}
	if err := command.Run(&process{ctx: ctx, stdout: stdout, stderr: lines}); err != nil {
		fmt.Fprintf(lines, "tecken-upload: %v\n", err)
		if errors.Is(err, errIncomplete) {
			return 2
		}
		return 1
	}
	return 0
}
