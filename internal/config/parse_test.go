package config_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/config"
)

// program has the parts of a real one: a default command, another one, and a variable that both share.
type program struct {
	Serve struct {
		Listen string        `name:"tecken-listen" port:"PORT" default:"127.0.0.1:8000" help:"Where to listen."`
		Limit  config.Size   `name:"tecken-limit" default:"2GiB" help:"The most."`
		Wait   time.Duration `name:"tecken-wait" default:"5m" help:"How long."`
		Names  config.List   `name:"tecken-names" default:"a,b" help:"Which."`
		Cores  int           `name:"tecken-cores" default:"${cores}" help:"How many."`
		DSN    string        `name:"sentry-dsn" help:"Where errors go."`
		DB     string        `name:"tecken-db" default:"sqlite:db" help:"The database."`
	} `cmd:"" default:"withargs" help:"Serve."`
	Token struct {
		User string `name:"user" help:"Whose."`
		DB   string `name:"tecken-db" default:"sqlite:db" help:"The database."`
	} `cmd:"" help:"Make a token."`
}

// variables is an environment.
type variables map[string]string

func (v variables) lookup(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func parse(cli any, args []string, env variables) (command string, err error) {
	ctx, err := config.Parse(cli, "program", args, env.lookup, io.Discard, io.Discard)
	if err != nil {
		return "", err
	}
	return ctx.Command(), nil
}

func TestParsePrecedence(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  variables
		want func(*program)
	}{
		{"defaults", nil, nil, func(*program) {}},
		{"variables", nil,
			variables{"TECKEN_LISTEN": ":1", "TECKEN_LIMIT": "1MiB", "TECKEN_WAIT": "1s", "TECKEN_NAMES": "x", "SENTRY_DSN": "http://k@h/1"},
			func(p *program) {
				p.Serve.Listen, p.Serve.Limit, p.Serve.Wait, p.Serve.Names = ":1", config.MiB, time.Second, config.List{"x"}
				p.Serve.DSN = "http://k@h/1"
			}},
		{"flag before variable", []string{"--tecken-listen=:2"}, variables{"TECKEN_LISTEN": ":1", "PORT": "3"},
			func(p *program) { p.Serve.Listen = ":2" }},
		{"short flag, command named", []string{"serve", "--listen", ":2"}, nil,
			func(p *program) { p.Serve.Listen = ":2" }},
		{"flag before a variable that makes no sense", []string{"--wait=2s"}, variables{"TECKEN_WAIT": "soon"},
			func(p *program) { p.Serve.Wait = 2 * time.Second }},
		{"port", nil, variables{"PORT": "5000"}, func(p *program) { p.Serve.Listen = "0.0.0.0:5000" }},
		{"variable before port", nil, variables{"PORT": "5000", "TECKEN_LISTEN": ":1"},
			func(p *program) { p.Serve.Listen = ":1" }},
		{"empty is not set", nil, variables{"PORT": "", "TECKEN_LISTEN": "", "TECKEN_WAIT": "", "SENTRY_DSN": ""},
			func(*program) {}},
		{"an empty list is one", nil, variables{"TECKEN_NAMES": ""}, func(p *program) { p.Serve.Names = config.List{} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want, got program
			if _, err := parse(&want, nil, nil); err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			command, err := parse(&got, tt.args, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if command != "serve" {
				t.Errorf("command is %q", command)
			}
		})
	}
}

func TestParseOtherCommand(t *testing.T) {
	var p program
	command, err := parse(&p, []string{"token", "--user=a@example.com"},
		variables{"TECKEN_DB": "sqlite:x", "USER": "root", "TECKEN_WAIT": "soon"})
	if err != nil {
		t.Fatal(err)
	}
	if command != "token" || p.Token.DB != "sqlite:x" || p.Token.User != "a@example.com" {
		t.Errorf("%s: %+v", command, p.Token)
	}
	if _, err := parse(&p, []string{"token"}, variables{"USER": "root"}); err != nil || p.Token.User != "" {
		t.Errorf("user %q, %v: a flag without a prefix has no variable", p.Token.User, err)
	}
}

func TestParseReportsEveryFault(t *testing.T) {
	_, err := parse(new(program), nil, variables{"TECKEN_LIMIT": "much", "TECKEN_WAIT": "soon", "TECKEN_CORES": "few"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"TECKEN_LIMIT", "TECKEN_WAIT", "TECKEN_CORES"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
	if _, err := parse(new(program), []string{"--nonsense"}, nil); err == nil {
		t.Error("an unknown flag is no error")
	}
}

func TestParseHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"--help", "--tecken-wait=1s"}} {
		var stdout, stderr bytes.Buffer
		_, err := config.Parse(new(program), "program", args, variables{"TECKEN_WAIT": "soon"}.lookup, &stdout, &stderr)
		if !errors.Is(err, config.ErrHelp) {
			t.Fatalf("%v: %v", args, err)
		}
		if !strings.HasPrefix(stdout.String(), "Usage: program") || stderr.Len() > 0 {
			t.Errorf("%v: %s%s", args, &stdout, &stderr)
		}
		if args[0] == "serve" && !strings.Contains(stdout.String(), "$TECKEN_LISTEN") {
			t.Errorf("%s", &stdout)
		}
	}
}
