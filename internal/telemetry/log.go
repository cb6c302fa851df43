package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger returns a logger that writes one JSON object a line to w, with the instance's name, from the given level on ("debug", "info",
// "warn", "error"). It writes one line at a time.
func NewLogger(w io.Writer, level, instance string) (*slog.Logger, error) {
	var from slog.Level
	if err := from.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: must be debug, info, warn or error", level)
	}
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: from, ReplaceAttr: logged})
	return slog.New(handler).With(slog.String("instance", instance)), nil
}

// logged returns a fact, or one of the handler's own attributes, in its written form. Groups come as their members.
func logged(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey {
		return a
	}
	return slog.Any(a.Key, plain(a.Key, a.Value))
}
