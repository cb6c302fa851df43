package janitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine is the longest line that Write writes, in bytes.
const MaxLine = 128 << 10

// A Message is one line of what a sweep tells: an autopsy when an orphan went, and at its end the report.
type Message struct {
	Autopsy *Autopsy `json:"autopsy,omitempty"`
	Report  *Report  `json:"report,omitempty"`
	// Kind and Err say why the sweep ended early; they stand beside its report.
	Kind string `json:"kind,omitempty"`
	Err  string `json:"err,omitempty"`
}

// Write writes a message as one line of JSON.
func Write(w io.Writer, m Message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a sweep's message: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write a sweep's message: %w", err)
	}
	return nil
}

// Read reads a line that Write wrote. A line that is something else is an error.
func Read(line []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(line, &m); err != nil {
		return Message{}, fmt.Errorf("read a sweep's message: %w", err)
	}
	if m.Autopsy == nil && m.Report == nil {
		return Message{}, errors.New("read a sweep's message: neither autopsy nor report")
	}
	return m, nil
}
