package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// commandTimeout bounds a token command's wait for the database.
const commandTimeout = 30 * time.Second

// tokenCommand is the group of token commands. They use the database alone: no server needs to run.
type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make a token and print it. It is not stored."`
	List   tokenList   `cmd:"" help:"List all tokens."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a token at once."`
}

type tokenCreate struct {
	config.Database
	User       string          `required:"" placeholder:"E-MAIL" help:"The token's user."`
	Permission []string        `required:"" placeholder:"NAME" help:"upload_symbols or upload_try_symbols, view_all_uploads, or both."`
	Expires    config.Lifetime `default:"365d" help:"Its lifetime: a Go duration, or days as in 365d."`
	Weight     int             `default:"1" help:"Its share of the server, relative to other tokens."`
}

// Run is called by kong.
func (c *tokenCreate) Run(p *process) error {
	if err := existing(c.Database); err != nil {
		fmt.Fprintf(p.stderr, "%v: making it.\n", err)
	}
	return withRecords(p, c.Database, func(ctx context.Context, records *record.Store) error {
		spec := record.TokenSpec{User: c.User, Weight: c.Weight, Expires: time.Now().Add(time.Duration(c.Expires))}
		for _, name := range c.Permission {
			spec.Permissions = append(spec.Permissions, upload.Permission(name))
		}
		text, token, err := records.CreateToken(ctx, spec)
		if err != nil {
			return fmt.Errorf("make a token: %w", err)
		}
		fmt.Fprintf(p.stderr, "Token %d of %s, valid until %s:\n", token.ID, token.User, timeText(token.ExpiresAt))
		_, err = fmt.Fprintln(p.stdout, text)
		return err
	})
}

type tokenList struct {
	config.Database
	JSON bool `help:"Print one JSON object a line."`
}

// Run is called by kong.
func (c *tokenList) Run(p *process) error {
	if err := existing(c.Database); err != nil {
		return err
	}
	return withRecords(p, c.Database, func(ctx context.Context, records *record.Store) error {
		tokens, err := records.Tokens(ctx)
		if err != nil {
			return fmt.Errorf("list the tokens: %w", err)
		}
		if c.JSON {
			return printJSON(p.stdout, tokens)
		}
		return printTable(p.stdout, tokens)
	})
}

func printJSON(w io.Writer, tokens []upload.Token) error {
	encoder := json.NewEncoder(w)
	for i := range tokens {
		if err := encoder.Encode(&tokens[i]); err != nil {
			return fmt.Errorf("print token %d: %w", tokens[i].ID, err)
		}
	}
	return nil
}

func printTable(w io.Writer, tokens []upload.Token) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tPERMISSIONS\tWEIGHT\tCREATED\tEXPIRES\tREVOKED")
	for i := range tokens {
		t := &tokens[i]
		permissions := make([]string, len(t.Permissions))
		for j, p := range t.Permissions {
			permissions[j] = string(p)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%d\t%s\t%s\t%s\n", t.ID, t.User, strings.Join(permissions, ","), t.Weight,
			timeText(t.CreatedAt), timeText(t.ExpiresAt), timeText(t.RevokedAt))
	}
	return table.Flush()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

type tokenRevoke struct {
	config.Database
	ID int64 `arg:"" help:"The token's number, from token list."`
}

// Run is called by kong.
func (c *tokenRevoke) Run(p *process) error {
	if err := existing(c.Database); err != nil {
		return err
	}
	return withRecords(p, c.Database, func(ctx context.Context, records *record.Store) error {
		err := records.RevokeToken(ctx, c.ID)
		if errors.Is(err, upload.ErrNotFound) {
			return fmt.Errorf("there is no token %d", c.ID)
		}
		if err != nil {
			return fmt.Errorf("revoke token %d: %w", c.ID, err)
		}
		fmt.Fprintf(p.stderr, "Token %d is revoked.\n", c.ID)
		return nil
	})
}

// existing returns an error if the database's file is missing: listing tokens, perhaps in the wrong directory, must not make one.
func existing(d config.Database) error {
	path, ok := strings.CutPrefix(d.DatabaseURL, "sqlite:")
	if !ok {
		return nil
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database %s (TECKEN_DATABASE_URL)", path)
	}
	return err
}

// withRecords calls f with the database, migrated.
func withRecords(p *process, d config.Database, f func(context.Context, *record.Store) error) (err error) {
	ctx, cancel := context.WithTimeout(p.ctx, commandTimeout)
	defer cancel()
	records, err := record.Open(ctx, d.DatabaseURL, record.Options{MaxConns: d.DatabaseMaxConns, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	if err := records.Migrate(ctx); err != nil {
		return err
	}
	return f(ctx, records)
}
