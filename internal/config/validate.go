package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minTenantStale leaves time for three renewals, each of which may take a second.
const minTenantStale = 4 * time.Second

// maxRetention is 100 years: nearly for ever, and well below what a Duration holds.
const maxRetention = 876000 * time.Hour

// Validate reports all faults of the settings, each with its variable's name.
func (p *Process) Validate() error {
	var f faults
	f.check("TECKEN_LOG_LEVEL", logLevel(p.LogLevel))
	f.check("TECKEN_INSTANCE", notEmpty(p.Instance))
	if p.SentryDSN != "" {
		f.check("SENTRY_DSN", sentryDSN(p.SentryDSN))
	}
	return f.join()
}

// Validate reports all faults of the settings, each with its variable's name.
func (s *Spool) Validate() error {
	var f faults
	f.check("TECKEN_SPOOL_DIR", notEmpty(s.SpoolDir))
	f.check("TECKEN_SPOOL_HEADROOM", atLeast(s.SpoolHeadroom, 0))
	return f.join()
}

// Validate reports all faults of the settings, each with its variable's name.
func (d *Database) Validate() error {
	var f faults
	f.check("TECKEN_DATABASE_URL", oneScheme(d.DatabaseURL, "sqlite:", "postgres://", "postgresql://"))
	f.check("TECKEN_DATABASE_MAX_CONNS", atLeast(d.DatabaseMaxConns, 1))
	return f.join()
}

// Validate reports all faults of the settings, each with its variable's name.
func (t *Tenants) Validate() error {
	var f faults
	if t.RedisURL != "" {
		f.check("TECKEN_REDIS_URL", oneScheme(t.RedisURL, "redis://", "rediss://", "unix://"))
	}
	f.check("TECKEN_TENANT_UPLOADS", atLeast(t.TenantUploads, 1))
	f.check("TECKEN_TENANT_STALE", atLeast(t.TenantStale, minTenantStale))
	return f.join()
}

// Validate reports all faults of the settings, each with its variable's name. The storage package checks TECKEN_STORAGE_URL.
func (s *Server) Validate() error {
	f := faults{s.Process.Validate(), s.Spool.Validate(), s.Database.Validate(), s.Tenants.Validate()}
	f.check("TECKEN_LISTEN", address(s.Listen))
	f.check("TECKEN_METRICS_LISTEN", address(s.MetricsListen))
	s.validateTimes(&f)
	s.validateLimits(&f)
	s.validateFetch(&f)
	s.validateDownloads(&f)
	return f.join()
}

func (s *Server) validateTimes(f *faults) {
	for name, d := range map[string]time.Duration{
		"TECKEN_UPLOAD_TIMEOUT":        s.UploadTimeout,
		"TECKEN_RECEIVE_TIMEOUT":       s.ReceiveTimeout,
		"TECKEN_RECEIVE_STALL_TIMEOUT": s.ReceiveStallTimeout,
		"TECKEN_STALL_ALARM":           s.StallAlarm,
		"TECKEN_DISK_FULL_WINDOW":      s.DiskFullWindow,
		"TECKEN_RETENTION":             s.Retention,
		"TECKEN_TRY_RETENTION":         s.TryRetention,
	} {
		f.check(name, moreThan(d, 0))
	}
	f.check("TECKEN_RETENTION", atMost(s.Retention, maxRetention))
	f.check("TECKEN_TRY_RETENTION", atMost(s.TryRetention, maxRetention))
	f.check("TECKEN_ADMISSION_WAIT", atLeast(s.AdmissionWait, 0))
	f.check("TECKEN_SHUTDOWN_DELAY", atLeast(s.ShutdownDelay, 0))
	f.check("TECKEN_SHUTDOWN_TIMEOUT", atLeast(s.ShutdownTimeout, 0))
}

func (s *Server) validateLimits(f *faults) {
	for name, n := range map[string]int{
		"TECKEN_MAX_MEMBERS":         s.MaxMembers,
		"TECKEN_CPU_SLOTS":           s.CPUSlots,
		"TECKEN_STORAGE_SLOTS":       s.StorageSlots,
		"TECKEN_MAX_RECEIVING":       s.MaxReceiving,
		"TECKEN_DISK_FULL_THRESHOLD": s.DiskFullThreshold,
	} {
		f.check(name, atLeast(n, 1))
	}
	f.check("TECKEN_MAX_UPLOAD_SIZE", moreThan(s.MaxUploadSize, 0))
	f.check("TECKEN_MAX_MEMBER_SIZE", moreThan(s.MaxMemberSize, 0))
	f.check("TECKEN_MAX_EXTRACTED_SIZE", moreThan(s.MaxExtractedSize, 0))
	if s.SpoolMax != 0 {
		f.check("TECKEN_SPOOL_MAX", atLeast(s.SpoolMax, MiB))
	}
	f.check("TECKEN_DECODER_MEMORY", atLeast(s.DecoderMemory, 1<<20))
	f.check("TECKEN_RECEIVE_MIN_RATE", atLeast(s.ReceiveMinRate, 0))
}

func (s *Server) validateFetch(f *faults) {
	for _, entry := range s.UploadByURLDomains {
		f.check("TECKEN_UPLOAD_BY_URL_DOMAINS", host(entry))
	}
}

// faults collects the faults of settings.
type faults []error

func (f *faults) check(name string, errs ...error) {
	for _, err := range errs {
		if err != nil {
			*f = append(*f, fmt.Errorf("%s: %w", name, err))
		}
	}
}

// join returns the faults as one error in the order of their names, or nil.
func (f *faults) join() error {
	found := slices.DeleteFunc(*f, func(err error) bool { return err == nil })
	slices.SortStableFunc(found, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(found...)
}

func atLeast[T cmp.Ordered](value, least T) error {
	if value < least {
		return fmt.Errorf("is %v, must be %v or more", value, least)
	}
	return nil
}

func moreThan[T cmp.Ordered](value, bound T) error {
	if value <= bound {
		return fmt.Errorf("is %v, must be more than %v", value, bound)
	}
	return nil
}

func notEmpty(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("is empty")
	}
	return nil
}

func logLevel(name string) error {
	var l slog.Level
	if l.UnmarshalText([]byte(name)) != nil {
		return fmt.Errorf("is %q, must be debug, info, warn or error", name)
	}
	return nil
}

// address checks a host and a port number; the host may be empty, the port 0.
func address(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("is %q, must be <host>:<port>", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port is %q, must be a number up to 65535", port)
	}
	return nil
}

// maxHost is the length of the longest name in the DNS, in bytes.
const maxHost = 253

// host checks a host name that can be on the internet, and its optional port.
func host(text string) error {
	if strings.Contains(text, "/") {
		return errors.New("has a URL or a path, must be <host> or <host>:<port>") // not shown: there may be a password in it
	}
	name, port, named := strings.Cut(text, ":")
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !hostLabel.MatchString(label) {
			return fmt.Errorf("%q is not <host> or <host>:<port>", text)
		}
	}
	last := strings.ToLower(labels[len(labels)-1])
	switch {
	case len(name) > maxHost:
		return fmt.Errorf("%q is longer than the %d bytes of a host's name", text, maxHost)
	case number.MatchString(last):
		return fmt.Errorf("%q looks like an address: give the host's name", text)
	case last == "localhost":
		return fmt.Errorf("%q is this machine: only public addresses are allowed", text)
	}
	// Without leading zeros: an address never has them.
	if n, err := strconv.ParseUint(port, 10, 16); named && (err != nil || port[0] < '1' || n == 0) {
		return fmt.Errorf("port of %q must be a number from 1 to 65535", text)
	}
	return nil
}

// number matches a last part of a name that some resolvers read as a part of an address.
//
// Source: https://url.spec.whatwg.org/#ends-in-a-number-checker
var number = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)

// hostLabel is a part of a host's name: letters, digits and hyphens (RFC 1123, 2.1), and the underscore that some use.
var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// oneScheme checks that a URL begins in one of the given ways and goes on. What it says never shows
// the URL, which may hold a password.
func oneScheme(text string, schemes ...string) error {
	for _, scheme := range schemes {
		rest, ok := strings.CutPrefix(text, scheme)
		if !ok {
			continue
		}
		if rest == "" {
			return fmt.Errorf("nothing follows %q", scheme)
		}
		if strings.HasSuffix(scheme, "//") && !strings.HasPrefix(scheme, "postgres") { // that is pgx's to read: of several hosts it is no URL
			return readable(text)
		}
		return nil
	}
	return fmt.Errorf("must begin with %s", strings.Join(schemes, " or "))
}

// readable checks what url.Parse says, and the host, save where a path may take its place.
func readable(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("is not a readable URL")
	}
	if u.Host == "" && u.Scheme != "unix" {
		return errors.New("names no host or bucket")
	}
	return nil
}

func sentryDSN(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User.Username() == "" || len(u.Path) < 2 {
		return errors.New("must be https://<key>@<host>/<project>")
	}
	return nil
}
