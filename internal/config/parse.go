package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// ErrHelp is returned by [Parse] after it has printed the help that was asked for.
var ErrHelp = errors.New("help was asked for")

// Parse fills and validates cli, a pointer to a struct with kong's tags, from args (without the program's name) and the environment
// variables that lookup finds. In a tag, ${cores} is the number of cores this process may use and ${hostname} the host's name. A field
// tagged `port:"NAME"` falls back on the variable NAME, a port number to listen to on all interfaces.
//
// Help goes to stdout and returns [ErrHelp]. Parse never ends the process and reads no environment but lookup's.
func Parse(cli any, name string, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) (*kong.Context, error) {
	env := &environment{lookup: lookup}
	helped := false
	parser, err := kong.New(cli,
		kong.Name(name),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.Vars{"cores": strconv.Itoa(runtime.GOMAXPROCS(0)), "hostname": hostname()},
		kong.Resolvers(env),
		kong.PostBuild(func(k *kong.Kong) error { shorten(k.Model.Node); return nil }),
		kong.ValueFormatter(describe),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("describe the command line: %w", err)
	}
	ctx, err := parser.Parse(args)
	if helped {
		return nil, ErrHelp
	}
	if err := errors.Join(append(env.faults, err)...); err != nil {
		return nil, err
	}
	return ctx, nil
}

// variable returns the name of a flag's environment variable, or "" for a flag without one.
func variable(flag string) string {
	if !strings.HasPrefix(flag, "tecken-") && !strings.HasPrefix(flag, "sentry-") {
		return ""
	}
	return strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// shorten allows the tecken- flags of a command and its subcommands without their prefix.
func shorten(node *kong.Node) {
	for _, flag := range node.Flags {
		if short, ok := strings.CutPrefix(flag.Name, "tecken-"); ok {
			flag.Aliases = append(flag.Aliases, short)
		}
	}
	for _, child := range node.Children {
		shorten(child)
	}
}

// describe returns a flag's help: its text and its variable.
func describe(value *kong.Value) string {
	if v := variable(value.Name); value.Flag != nil && v != "" {
		return value.Help + " ($" + v + ")"
	}
	return value.Help
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// environment resolves flags by their variables. kong's own env tags read the process's environment and stop at the first fault.
type environment struct {
	lookup func(string) (string, bool)
	faults []error
}

// Validate accepts everything: unknown variables belong to other programs.
func (e *environment) Validate(*kong.Application) error { return nil }

// Resolve returns the text of the flag's variable, or nil if it is not set. Unreadable text is kept as a fault, so that later faults are
// found too.
func (e *environment) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	name := variable(flag.Name)
	if name == "" {
		return nil, nil
	}
	text, ok := e.lookup(name)
	if _, isList := flag.Target.Interface().(List); !ok || text == "" && !isList {
		return e.port(flag), nil
	}
	token := kong.Token{Type: kong.FlagValueToken, Value: text}
	scratch := reflect.New(flag.Target.Type()).Elem()
	if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: kong.ScanFromTokens(token)}, scratch); err != nil {
		e.faults = append(e.faults, fmt.Errorf("%s: %w", name, err))
		return nil, nil
	}
	return text, nil
}

func (e *environment) port(flag *kong.Flag) any {
	name := flag.Tag.Get("port")
	if name == "" {
		return nil
	}
	if port, ok := e.lookup(name); ok && port != "" {
		return "0.0.0.0:" + port
	}
	return nil
}
