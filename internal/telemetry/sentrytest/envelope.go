package sentrytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An Event is a received event.
type Event struct {
	EventID     string                    `json:"event_id"`
	Level       string                    `json:"level"`
	Message     string                    `json:"message"`
	Environment string                    `json:"environment"`
	Release     string                    `json:"release"`
	ServerName  string                    `json:"server_name"`
	Fingerprint []string                  `json:"fingerprint"`
	Tags        map[string]string         `json:"tags"`
	Contexts    map[string]map[string]any `json:"contexts"`
	Exception   []Exception               `json:"exception"`

	// Raw is the whole event, to search for what it must not hold.
	Raw json.RawMessage `json:"-"`
}

// An Exception is one link in an event's chain of errors; the last one names the event.
type Exception struct {
	Type       string `json:"type"`
	Value      string `json:"value"`
	Stacktrace struct {
		Frames []Frame `json:"frames"` // the innermost last
	} `json:"stacktrace"`
}

// A Frame is one function call.
type Frame struct {
	Function string `json:"function"`
	Module   string `json:"module"`
	AbsPath  string `json:"abs_path"`
	Line     int    `json:"lineno"`
	InApp    bool   `json:"in_app"`
}

// A CheckIn is one check-in of a cron monitor.
type CheckIn struct {
	ID       string  `json:"check_in_id"`
	Monitor  string  `json:"monitor_slug"`
	Status   string  `json:"status"`   // "ok", "error" or "in_progress"
	Duration float64 `json:"duration"` // seconds
	Config   struct {
		Schedule struct {
			Type  string `json:"type"`
			Value any    `json:"value"`
			Unit  string `json:"unit"`
		} `json:"schedule"`
		Margin int64 `json:"checkin_margin"` // minutes
	} `json:"monitor_config"`

	// Raw is the whole check-in.
	Raw json.RawMessage `json:"-"`
}

// envelope is the collected part of one request.
type envelope struct {
	events   []Event
	checkIns []CheckIn
}

// decode reads an envelope: a line of JSON, then for each item a line of JSON and its payload, which ends after the length in that line, or
// at the end of its own line.
func decode(data []byte) (envelope, error) {
	var e envelope
	header, rest, _ := bytes.Cut(data, []byte{'\n'})
	if err := json.Unmarshal(header, &struct{}{}); err != nil {
		return e, fmt.Errorf("envelope header: %w", err)
	}
	for len(bytes.TrimSpace(rest)) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		var item struct {
			Type   string `json:"type"`
			Length *int   `json:"length"`
		}
		if err := json.Unmarshal(line, &item); err != nil {
			return e, fmt.Errorf("item header %q: %w", line, err)
		}
		payload, after, err := cutPayload(rest, item.Length)
		if err != nil {
			return e, fmt.Errorf("%s item: %w", item.Type, err)
		}
		if err := e.add(item.Type, payload); err != nil {
			return e, fmt.Errorf("%s item: %w", item.Type, err)
		}
		rest = after
	}
	return e, nil
}

func cutPayload(data []byte, length *int) (payload, rest []byte, err error) {
	if length == nil {
		payload, rest, _ = bytes.Cut(data, []byte{'\n'})
		return payload, rest, nil
	}
	if *length < 0 || *length > len(data) {
		return nil, nil, fmt.Errorf("length %d of %d bytes: %w", *length, len(data), io.ErrUnexpectedEOF)
	}
	payload, rest = data[:*length], data[*length:]
	if len(rest) > 0 && rest[0] != '\n' {
		return nil, nil, errors.New("no line end after the payload")
	}
	return payload, bytes.TrimPrefix(rest, []byte{'\n'}), nil
}

// add keeps an item. Types that the Server does not collect (client reports, sessions) are fine.
func (e *envelope) add(kind string, payload []byte) error {
	switch kind {
	case "":
		return errors.New("no type")
	case "event":
		event := Event{Raw: bytes.Clone(payload)}
		if err := json.Unmarshal(payload, &event); err != nil {
			return err
		}
		e.events = append(e.events, event)
	case "check_in":
		checkIn := CheckIn{Raw: bytes.Clone(payload)}
		if err := json.Unmarshal(payload, &checkIn); err != nil {
			return err
		}
		e.checkIns = append(e.checkIns, checkIn)
	}
	return nil
}
