package config

import (
	"math"
	"time"
)

// Process has the settings that both programs share.
type Process struct {
	// LogLevel is debug, info, warn or error. One line per upload is logged at info or above.
	LogLevel string `name:"tecken-log-level" default:"info" help:"Lowest level to log: debug, info, warn or error."`

	// Instance distinguishes instances in logs and in Sentry.
	Instance string `name:"tecken-instance" default:"${hostname}" help:"This instance's name in logs and in Sentry."`

	// SentryDSN is the Sentry project that failures are reported to. Without it they are only logged.
	SentryDSN string `name:"sentry-dsn" placeholder:"URL" help:"Report failures to this Sentry project."`

	// SentryEnvironment is Sentry's environment; "production" if empty, as in Sentry.
	SentryEnvironment string `name:"sentry-environment" placeholder:"NAME" help:"Environment shown in Sentry."`

	// SentryRelease is the release Sentry shows; by default the program's own version.
	SentryRelease string `name:"sentry-release" placeholder:"NAME" help:"Release shown in Sentry. Default: this program's version."`
}

// Spool has the settings that both programs must agree on to share a spool.
type Spool struct {
	// SpoolDir holds uploads in progress. A missing directory is made.
	SpoolDir string `name:"tecken-spool-dir" default:"data/spool" help:"Directory for uploads in progress."`

	// SpoolHeadroom is what uploads leave free on the spool's file system.
	SpoolHeadroom Size `name:"tecken-spool-headroom" default:"1GiB" help:"Bytes left free on the spool's file system."`
}

// Storage has the setting of every command that uses stored symbols.
type Storage struct {
	// StorageURL is file:<directory>, relative or absolute, or s3://bucket/prefix?region=…&endpoint=…&path_style=true&checksum=…
	// The SDK finds the credentials for S3. checksum is crc32, md5 or none; the default is crc32, or md5 if the SDK's own
	// AWS_REQUEST_CHECKSUM_CALCULATION is when_required.
	StorageURL string `name:"tecken-storage-url" default:"file:data/symbols" help:"Symbols: file:<directory> or s3://bucket/prefix?region=…&endpoint=…&path_style=true&checksum=crc32|md5|none"`
}

// Database has the settings of every command that uses records.
type Database struct {
	// DatabaseURL is sqlite:<path>, relative or absolute, or postgres://… as PostgreSQL's own clients take it, with several hosts and
	// target_session_attrs too. PgBouncer works in transaction mode.
	DatabaseURL string `name:"tecken-database-url" default:"sqlite:data/tecken.db" help:"Records: sqlite:<path> or postgres://…"`

	// DatabaseMaxConns bounds the connections of this process to PostgreSQL. Work waits for one.
	DatabaseMaxConns int `name:"tecken-database-max-conns" default:"10" help:"Connections to PostgreSQL."`
}

// Tenants has the settings of every command that uses tenants' leases.
type Tenants struct {
	// RedisURL is where instances share tenants' leases: redis://, rediss:// or unix://. Without it each process has its own.
	RedisURL string `name:"tecken-redis-url" placeholder:"URL" help:"Redis in which instances share tenants' leases."`

	// TenantUploads bounds the simultaneous uploads of one tenant, multiplied by its weight.
	TenantUploads int `name:"tecken-tenant-uploads" default:"8" help:"Simultaneous uploads of one tenant, times its weight."`

	// TenantStale is how long a dead instance's lease counts, and how long its uploads are not known to be lost; live instances renew theirs
	// every quarter of it, and report their uploads every sixth. It must be the same on all instances.
	TenantStale time.Duration `name:"tecken-tenant-stale" default:"60s" help:"Time after which a dead instance's leases stop counting, and its uploads are lost."`
}

// Server has all settings of the server. Limits need no order: the smallest wins.
type Server struct {
	Process
	Spool
	Storage
	Database
	Tenants

	// Listen is the address for clients. With PORT alone it is 0.0.0.0:$PORT.
	Listen string `name:"tecken-listen" port:"PORT" default:"127.0.0.1:8000" help:"Address for clients. PORT alone means 0.0.0.0:$$PORT."`

	// MetricsListen is the address of /metrics for Prometheus. Keep it private.
	MetricsListen string `name:"tecken-metrics-listen" default:"127.0.0.1:8001" help:"Address for /metrics."`

	// SpoolMax bounds the bytes of uploads in the spool, however much its file system has free: for volumes with a limit that the file
	// system does not show. 0 means no bound.
	SpoolMax Size `name:"tecken-spool-max" placeholder:"SIZE" help:"Bound for the bytes of uploads in the spool, however much its file system has free. Default: none."`

	// UploadTimeout bounds an upload from its last byte to its answer.
	UploadTimeout time.Duration `name:"tecken-upload-timeout" default:"5m" help:"Deadline of an upload, from its last byte to the answer."`

	// ReceiveTimeout bounds the arrival of a whole body.
	ReceiveTimeout time.Duration `name:"tecken-receive-timeout" default:"30m" help:"Deadline of receiving a body."`

	// ReceiveStallTimeout is how long a client may send nothing.
	ReceiveStallTimeout time.Duration `name:"tecken-receive-stall-timeout" default:"30s" help:"Longest pause between two bytes of a body."`

	// ReceiveMinRate is the lowest rate of a body over 60 s. It is enforced only while another upload is refused for room; 0/s turns it
	// off.
	ReceiveMinRate Rate `name:"tecken-receive-min-rate" default:"32KiB/s" help:"Lowest rate of a body while others are refused for room."`

	// MaxUploadSize bounds an archive. The request's body may have 1 MiB more.
	MaxUploadSize Size `name:"tecken-max-upload-size" default:"2GiB" help:"Largest archive."`

	// MaxMemberSize bounds one member, inflated. A member of a tar is at most 2 GiB.
	MaxMemberSize Size `name:"tecken-max-member-size" default:"8GiB" help:"Largest member, inflated."`

	// MaxExtractedSize bounds all members of an archive together, inflated.
	MaxExtractedSize Size `name:"tecken-max-extracted-size" default:"32GiB" help:"Largest archive, inflated."`

	// MaxMembers bounds the number of an archive's members.
	MaxMembers int `name:"tecken-max-members" default:"10000" help:"Largest number of members of an archive."`

	// DisallowedSnippets reject an archive if one is part of a member's name.
	DisallowedSnippets List `name:"tecken-disallowed-snippets" default:"qcom/proprietary" help:"Snippets not allowed in members' names, comma separated."`

	// CPUSlots bounds the members verified at once.
	CPUSlots int `name:"tecken-cpu-slots" default:"${cores}" help:"Members verified at once."`

	// DecoderMemory bounds the memory of all decoders of compressed tars: a quarter for those that still arrive, the rest for those that are
	// there, and half of either for one tenant. A decoder that needs more than the rest runs alone. zstd and xz usually need 8 MiB, at
	// most 128 and 64 MiB.
	DecoderMemory Size `name:"tecken-decoder-memory" default:"256MiB" help:"Memory of all decoders of compressed tars."`

	// StorageSlots bounds the members published at once. There are as many connections to storage, and twice as many more for calls that
	// hang.
	StorageSlots int `name:"tecken-storage-slots" default:"16" help:"Members published at once."`

	// MaxReceiving bounds the bodies that arrive at once.
	MaxReceiving int `name:"tecken-max-receiving" default:"64" help:"Bodies received at once."`

	// AdmissionWait bounds the wait at the gate. With 0s a request waits only for Redis's answer about its lease.
	AdmissionWait time.Duration `name:"tecken-admission-wait" default:"10s" help:"Longest wait of an upload at the gate."`

	// StallAlarm is how long work may wait without any progress before an alarm.
	StallAlarm time.Duration `name:"tecken-stall-alarm" default:"60s" help:"Time without progress of waiting work before an alarm."`

	// DiskFullThreshold is how many disk-full errors inside DiskFullWindow turn the heartbeats red.
	DiskFullThreshold int `name:"tecken-disk-full-threshold" default:"3" help:"Disk-full errors that turn the heartbeats red."`

	// DiskFullWindow is how long a disk-full error counts.
	DiskFullWindow time.Duration `name:"tecken-disk-full-window" default:"5m" help:"Time for which a disk-full error counts."`

	// ShutdownDelay is how long the load balancer's heartbeat is red before the listener closes.
	ShutdownDelay time.Duration `name:"tecken-shutdown-delay" default:"5s" help:"Time from red heartbeats to the closing of the listener."`

	// ShutdownTimeout is how long uploads in flight may finish before they are cancelled.
	ShutdownTimeout time.Duration `name:"tecken-shutdown-timeout" default:"5m" help:"Time for uploads in flight to finish at shutdown."`

	// Retention is how long records of regular uploads are kept, at most 876000h (100 years). Set it to the time in the bucket's rules for
	// regular symbols: a skipped symbol older than half of it is refreshed, and a regular symbol that would expire before a try upload's is
	// stored again for the try upload.
	Retention time.Duration `name:"tecken-retention" default:"17520h" help:"Age at which records of regular uploads expire, at most 876000h. Skipped symbols older than half of it are refreshed."`

	// TryRetention is the same for try uploads. A directory's try symbols are removed after it.
	TryRetention time.Duration `name:"tecken-try-retention" default:"720h" help:"Age at which records of try uploads, and a directory's try symbols, expire."`

	// UploadByURLDomains are the exact hosts that archives may be fetched from, at port 443 or as in host:8443. Empty: upload by URL is
	// off.
	UploadByURLDomains List `name:"tecken-upload-by-url-domains" placeholder:"HOST,..." help:"Hosts to fetch archives from, comma separated. Default: none."`
	// StoragePublicURL is the base of download redirects; object keys are appended. Without it redirects are presigned. With directory
	// storage the server sends the bytes itself.
	StoragePublicURL string `name:"tecken-storage-public-url" placeholder:"URL" help:"Base URL of download redirects. Default: they are presigned."`

	// PresignExpiry is the life of a presigned redirect, at most 7 days (S3's limit).
	PresignExpiry time.Duration `name:"tecken-presign-expiry" default:"15m" help:"Life of a presigned redirect."`

	// DownloadExtensions are the endings of names that are looked up, in any case; other names are a 404 without a lookup. "all" or an
	// empty list allows every name.
	DownloadExtensions List `name:"tecken-download-extensions" default:"all" help:"Endings of names that are looked up, comma separated."`

	// PublicURL is the server's address in answers. Without it answers have the address that the request was sent to.
	PublicURL string `name:"tecken-public-url" placeholder:"URL" help:"This server's address for clients. Default: that of the request."`

	// LegacyKeys repeats a failed lookup with the id as it was sent.
	LegacyKeys bool `name:"tecken-legacy-keys" default:"false" help:"Repeat a failed lookup with the id as sent."`
}

// uploadSlack is how much longer than its time-outs an upload may last: it waits for leases and slots, and its end for the database to come
// back.
const uploadSlack = 24 * time.Hour

// LongestUpload returns the longest time of an upload. Time-outs that overflow a Duration mean for ever.
func (s *Server) LongestUpload() time.Duration {
	total := uploadSlack
	for _, d := range []time.Duration{s.ReceiveTimeout, s.UploadTimeout} {
		total += min(d, math.MaxInt64-total)
	}
	return total
}
