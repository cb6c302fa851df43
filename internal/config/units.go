package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// A Size is a number of bytes, from 0. Its text is a whole number followed by B, KiB, MiB, GiB or nothing.
type Size int64

// The units of a Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// UnmarshalText reads a size such as "2GiB" or "4096".
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), Size(1)
	for _, u := range []struct {
		suffix string
		size   Size
	}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"B", 1}} {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = n, u.size
			break
		}
	}
	n, err := whole(number)
	switch {
	case err != nil:
		return fmt.Errorf("size %q: %w before B, KiB, MiB, GiB or the end", text, err)
	case n > math.MaxInt64/int64(unit):
		return fmt.Errorf("size %q: too large", text)
	}
	*s = Size(n) * unit
	return nil
}

// String returns the size in the largest unit that divides it: "2GiB", "1536KiB", "10B".
func (s Size) String() string {
	switch {
	case s == 0:
	case s%GiB == 0:
		return fmt.Sprintf("%dGiB", s/GiB)
	case s%MiB == 0:
		return fmt.Sprintf("%dMiB", s/MiB)
	case s%KiB == 0:
		return fmt.Sprintf("%dKiB", s/KiB)
	}
	return fmt.Sprintf("%dB", int64(s))
}

// A Rate is a number of bytes per second, from 0. Its text is that of a [Size], followed by "/s".
type Rate int64

// UnmarshalText reads a rate such as "32KiB/s".
func (r *Rate) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "/s")
	if !ok {
		return fmt.Errorf("rate %q: does not end in /s", text)
	}
	var s Size
	if err := s.UnmarshalText([]byte(number)); err != nil {
		return err
	}
	*r = Rate(s)
	return nil
}

// String returns the rate as it can be read back: "32KiB/s".
func (r Rate) String() string { return Size(r).String() + "/s" }

// A Lifetime is how long something stays valid, more than nothing. Its text is a whole number of days
// ("365d") or a duration in Go's form ("36h"); a day has 24 hours.
type Lifetime time.Duration

// UnmarshalText reads a lifetime such as "365d" or "36h".
func (l *Lifetime) UnmarshalText(text []byte) error {
	d, err := lifetime(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("lifetime %q: %w before d, or a duration such as 36h", text, err)
	case d <= 0:
		return fmt.Errorf("lifetime %q: must be more than 0", text)
	}
	*l = Lifetime(d)
	return nil
}

func lifetime(text string) (time.Duration, error) {
	number, isDays := strings.CutSuffix(text, "d")
	if !isDays {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, errors.New("not a whole number")
		}
		return d, nil
	}
	n, err := whole(number)
	if err != nil {
		return 0, err
	}
	if n > int64(math.MaxInt64/day) {
		return 0, errors.New("too large a number")
	}
	return time.Duration(n) * day, nil
}

// A Moment is a point in time. Its text is a day ("2026-01-31"), which stands for its start in UTC, or a time as in RFC 3339.
type Moment time.Time

// UnmarshalText reads a moment such as "2026-01-31" or "2026-01-31T12:00:00Z".
func (m *Moment) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, string(text)); err == nil {
			*m = Moment(at)
			return nil
		}
	}
	return fmt.Errorf("date %q: neither a day such as 2026-01-31 nor a time such as 2026-01-31T12:00:00Z", text)
}

// A List is comma-separated text. Spaces around elements and empty elements are dropped.
type List []string

// UnmarshalText reads a list such as ".sym, .pdb". Empty text is the empty list.
func (l *List) UnmarshalText(text []byte) error {
	*l = List{}
	for element := range strings.SplitSeq(string(text), ",") {
		if element = strings.TrimSpace(element); element != "" {
			*l = append(*l, element)
		}
	}
	return nil
}

// String returns the list as it can be read back.
func (l List) String() string { return strings.Join(l, ",") }

// whole reads decimal digits: no sign, fraction, exponent or space.
func whole(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("too large a number")
	case err != nil:
		return 0, errors.New("not a whole number")
	}
	return int64(n), nil
}
