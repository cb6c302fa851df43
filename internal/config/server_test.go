package config_test

import (
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/config"
)

func TestServerDefaults(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Server{
		Process:             config.Process{LogLevel: "info", Instance: host},
		Spool:               config.Spool{SpoolDir: "data/spool", SpoolHeadroom: 1 << 30},
		Storage:             config.Storage{StorageURL: "file:data/symbols"},
		Database:            config.Database{DatabaseURL: "sqlite:data/tecken.db", DatabaseMaxConns: 10},
		Tenants:             config.Tenants{TenantUploads: 8, TenantStale: time.Minute},
		Listen:              "127.0.0.1:8000",
		MetricsListen:       "127.0.0.1:8001",
		UploadTimeout:       5 * time.Minute,
		ReceiveTimeout:      30 * time.Minute,
		ReceiveStallTimeout: 30 * time.Second,
		MaxUploadSize:       2 << 30,
		MaxMemberSize:       8 << 30,
		MaxExtractedSize:    32 << 30,
		MaxMembers:          10000,
		DisallowedSnippets:  config.List{"qcom/proprietary"},
		CPUSlots:            runtime.GOMAXPROCS(0),
		StorageSlots:        16,
		MaxReceiving:        64,
		AdmissionWait:       10 * time.Second,
		StallAlarm:          time.Minute,
		DecoderMemory:       256 << 20,
		ReceiveMinRate:      32 << 10,
		DiskFullThreshold:   3,
		DiskFullWindow:      5 * time.Minute,
		ShutdownDelay:       5 * time.Second,
		ShutdownTimeout:     5 * time.Minute,
		Retention:           2 * 365 * 24 * time.Hour,
		TryRetention:        30 * 24 * time.Hour,
		PresignExpiry:       15 * time.Minute,
		DownloadExtensions:  config.List{"all"},
	}
	var got config.Server
	if _, err := parse(&got, nil, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// faulty has an invalid value for each variable.
var faulty = variables{
	"TECKEN_LOG_LEVEL":             "loud",
	"TECKEN_INSTANCE":              " ",
	"SENTRY_DSN":                   "https://sentry.example.com/1",
	"TECKEN_SPOOL_DIR":             " ",
	"TECKEN_SPOOL_HEADROOM":        "-1",
	"TECKEN_DATABASE_URL":          "mysql://user:hunter2@host/db",
	"TECKEN_DATABASE_MAX_CONNS":    "0",
	"TECKEN_REDIS_URL":             "http://user:hunter2@host",
	"TECKEN_TENANT_UPLOADS":        "0",
	"TECKEN_TENANT_STALE":          "3s",
	"TECKEN_LISTEN":                "localhost",
	"TECKEN_METRICS_LISTEN":        "localhost:http",
	"TECKEN_UPLOAD_TIMEOUT":        "0s",
	"TECKEN_RECEIVE_TIMEOUT":       "-1s",
	"TECKEN_RECEIVE_STALL_TIMEOUT": "0s",
	"TECKEN_MAX_UPLOAD_SIZE":       "0",
	"TECKEN_DECODER_MEMORY":        "1KiB",
	"TECKEN_MAX_MEMBER_SIZE":       "0",
	"TECKEN_MAX_EXTRACTED_SIZE":    "32GB",
	"TECKEN_MAX_MEMBERS":           "0",
	"TECKEN_CPU_SLOTS":             "0",
	"TECKEN_STORAGE_SLOTS":         "-1",
	"TECKEN_MAX_RECEIVING":         "many",
	"TECKEN_ADMISSION_WAIT":        "-1s",
	"TECKEN_STALL_ALARM":           "0s",
	"TECKEN_RECEIVE_MIN_RATE":      "32KiB",
	"TECKEN_DISK_FULL_THRESHOLD":   "0",
	"TECKEN_DISK_FULL_WINDOW":      "0s",
	"TECKEN_SHUTDOWN_DELAY":        "-1s",
	"TECKEN_SHUTDOWN_TIMEOUT":      "-1s",
	"TECKEN_RETENTION":             "2y",
	"TECKEN_TRY_RETENTION":         "0s",
	"TECKEN_UPLOAD_BY_URL_DOMAINS": "a.example.com,https://b.example.com",
	"TECKEN_STORAGE_PUBLIC_URL":    "https://user:hunter2@cdn.example.com/",
	"TECKEN_PRESIGN_EXPIRY":        "169h",
	"TECKEN_DOWNLOAD_EXTENSIONS":   ".sym,pdb",
	"TECKEN_PUBLIC_URL":            "symbols.example.com",
	"TECKEN_LEGACY_KEYS":           "perhaps",
}

func TestUploadByURLDomains(t *testing.T) {
	longest := strings.Repeat("a.", 121) + "example.com" // 253 bytes
	for value, ok := range map[string]bool{
		"": true, "a.example.com, B-2.example.com:8443": true, "a_b.example.com:65535": true, "1.example.com": true, "0x.example.com:1": true,
		longest: true, "a" + longest: false, "localhost": false, "a.LOCALHOST:8443": false, "192.0.2.1": false, "2130706433": false, "0x7f000001": false,
		"a.example.0X7f": false, "a.example.com:0443": false, "a.example.com:+443": false, "https://a.example.com/": false, "a.example.com/": false,
		"*.example.com": false, "a.example.com.": false, ".example.com": false, "a..b": false, "-a.example.com": false,
		"a.example.com/x": false, "u@a.example.com": false, "a.example.com:": false, "a.example.com:0": false,
		"a.example.com:65536": false, "a.example.com:https": false, "a.example.com:08443:1": false, "[::1]": false, "::1": false,
		"bücher.example.com": false, "a b": false,
	} {
		_, err := parse(new(config.Server), nil, variables{"TECKEN_UPLOAD_BY_URL_DOMAINS": value})
		if ok != (err == nil) {
			t.Errorf("%q: %v", value, err)
		}
	}
	_, err := parse(new(config.Server), nil, variables{"TECKEN_UPLOAD_BY_URL_DOMAINS": "https://u:hunter2@a.example.com/"})
	if err == nil || !strings.Contains(err.Error(), "has a URL or a path") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL is refused with %v", err)
	}
}

func TestServerRefuses(t *testing.T) {
	for name, value := range faulty {
		t.Run(name, func(t *testing.T) {
			_, err := parse(new(config.Server), nil, variables{name: value})
			if err == nil {
				t.Fatalf("%q is no fault", value)
			}
			if !strings.HasPrefix(err.Error(), name+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is reported as: %v", value, err)
			}
		})
	}
}

// "Never" is the bound, far below what a Duration holds.
func TestRetentionIsBounded(t *testing.T) {
	for _, name := range []string{"TECKEN_RETENTION", "TECKEN_TRY_RETENTION"} {
		if _, err := parse(new(config.Server), nil, variables{name: "876000h"}); err != nil {
			t.Error(err)
		}
		for _, value := range []string{"876000h1s", "2562047h47m16.854775807s"} {
			if _, err := parse(new(config.Server), nil, variables{name: value}); err == nil || !strings.Contains(err.Error(), "876000h") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

func TestServerReportsEveryFaultAtOnce(t *testing.T) {
	_, err := parse(new(config.Server), nil, faulty)
	if err == nil {
		t.Fatal("no error")
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != len(faulty) {
		t.Errorf("%d faults instead of %d: %v", got, len(faulty), err)
	}
	for name := range faulty {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not reported", name)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password is shown: %v", err)
	}
}

func TestServerTakes(t *testing.T) {
	for name, value := range map[string]string{
		"TECKEN_LISTEN":              "[::]:0",
		"TECKEN_METRICS_LISTEN":      ":8001",
		"TECKEN_LOG_LEVEL":           "DEBUG",
		"TECKEN_STORAGE_URL":         "s3://bucket?region=eu-central-1&endpoint=http://127.0.0.1:7070&path_style=true",
		"TECKEN_DATABASE_URL":        "postgres:///tecken?host=/run/postgresql",
		"TECKEN_REDIS_URL":           "unix:///run/redis/redis.sock?db=1",
		"TECKEN_TENANT_STALE":        "4s",
		"TECKEN_ADMISSION_WAIT":      "0s",
		"TECKEN_DISALLOWED_SNIPPETS": "",
		"TECKEN_STORAGE_PUBLIC_URL":  "https://cdn.example.com/symbols",
		"TECKEN_PRESIGN_EXPIRY":      "168h",
		"TECKEN_DOWNLOAD_EXTENSIONS": "",
		"TECKEN_LEGACY_KEYS":         "true",
		"SENTRY_DSN":                 "https://key@o1.ingest.sentry.io/42",
		"PORT":                       "5000",
	} {
		if _, err := parse(new(config.Server), nil, variables{name: value}); err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func TestServerNamesPort(t *testing.T) {
	_, err := parse(new(config.Server), nil, variables{"PORT": "http"})
	if err == nil || !strings.HasPrefix(err.Error(), "TECKEN_LISTEN: ") || !strings.Contains(err.Error(), "http") {
		t.Errorf("got %v", err)
	}
}

func TestServerAsDefaultCommand(t *testing.T) {
	var cli struct {
		Serve struct{ config.Server }   `cmd:"" default:"withargs" help:"Serve."`
		List  struct{ config.Database } `cmd:"" help:"List."`
	}
	env := variables{"TECKEN_LISTEN": "localhost", "TECKEN_DATABASE_URL": "postgres://host/db"}
	if _, err := parse(&cli, nil, env); err == nil || !strings.Contains(err.Error(), "TECKEN_LISTEN: ") {
		t.Errorf("serve: got %v", err)
	}
	command, err := parse(&cli, []string{"list"}, env)
	if err != nil || command != "list" || cli.List.DatabaseURL != "postgres://host/db" {
		t.Errorf("%s: %v, %+v: settings of another command count", command, err, cli.List)
	}
	if _, err := parse(&cli, []string{"--listen=:1", "--cpu-slots=7"}, env); err != nil || cli.Serve.CPUSlots != 7 {
		t.Errorf("serve by flags: %v, %d", err, cli.Serve.CPUSlots)
	}
}

func TestDownloadExtensions(t *testing.T) {
	for value, want := range map[string]config.List{
		"": nil, "all": nil, ".sym": {".sym"}, ".sym, .Dbg.GZ": {".sym", ".Dbg.GZ"},
	} {
		var c config.Server
		if _, err := parse(&c, nil, variables{"TECKEN_DOWNLOAD_EXTENSIONS": value}); err != nil || !slices.Equal(c.LookedUp(), want) {
			t.Errorf("%q: %q, %v", value, c.LookedUp(), err)
		}
	}
	for _, value := range []string{".sym,all", "all,all", "*", "."} {
		if _, err := parse(new(config.Server), nil, variables{"TECKEN_DOWNLOAD_EXTENSIONS": value}); err == nil {
			t.Errorf("%q is no fault", value)
		}
	}
}

// Whatever the time-outs, an upload may last at least as long as they say.
func TestLongestUpload(t *testing.T) {
	for _, c := range []struct{ receive, upload, want time.Duration }{
		{30 * time.Minute, 5 * time.Minute, 24*time.Hour + 35*time.Minute},
		{math.MaxInt64, time.Minute, math.MaxInt64},
		{time.Minute, math.MaxInt64 - time.Hour, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		if got := (&config.Server{ReceiveTimeout: c.receive, UploadTimeout: c.upload}).LongestUpload(); got != c.want {
			t.Errorf("%v and %v: %v, want %v", c.receive, c.upload, got, c.want)
		}
	}
}
