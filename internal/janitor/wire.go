package janitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds a line of Write, in bytes.
const MaxLine = 128 << 10

// A Message is one line of a sweep's output: an autopsy for each removed orphan, and the report at the end.
type Message struct {
	Autopsy *Autopsy `json:"autopsy,omitempty"`
	Report  *Report  `json:"report,omitempty"`
	// Kind and Err are why the sweep ended early; they stand beside its report.
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

// Read reads a line of Write. Any other line is an error.
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
