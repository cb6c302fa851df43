package config

import "time"

// Process is what both programs need, whatever they do.
type Process struct {
	// LogLevel is debug, info, warn or error. One line per upload is logged at info or above.
	LogLevel string `name:"tecken-log-level" default:"info" help:"Log from this level on: debug, info, warn or error."`

	// Instance tells this instance from others in logs and in Sentry.
	Instance string `name:"tecken-instance" default:"${hostname}" help:"This instance's name in logs and in Sentry."`

	// SentryDSN is where failures are reported. Without it, they are only logged.
	SentryDSN string `name:"sentry-dsn" placeholder:"URL" help:"Report failures to this Sentry project."`

	// SentryEnvironment is what Sentry calls an environment; where it is empty, "production", as there.
	SentryEnvironment string `name:"sentry-environment" placeholder:"NAME" help:"The environment that Sentry shows."`

	// SentryRelease is the release Sentry shows; by default the program's own version.
	SentryRelease string `name:"sentry-release" placeholder:"NAME" help:"The release that Sentry shows. Default: this program's version."`
}

// Spool is what both programs must agree on to share a spool.
type Spool struct {
	// SpoolDir holds uploads while they are processed. It is made where it is missing.
	SpoolDir string `name:"tecken-spool-dir" default:"data/spool" help:"Directory for uploads in progress."`

	// SpoolHeadroom is what uploads leave free on the spool's file system.
	SpoolHeadroom Size `name:"tecken-spool-headroom" default:"1GiB" help:"Bytes left free on the spool's file system."`
}

// Storage is what every command that deals with stored symbols needs.
type Storage struct {
	// StorageURL is file:<directory>, relative or absolute, or s3://bucket/prefix?region=…&endpoint=…&path_style=true&checksum=…
	// Credentials for S3 are found by the SDK's own chain. checksum is crc32, md5 or none; without it crc32, or md5 where the SDK's own
	// AWS_REQUEST_CHECKSUM_CALCULATION is when_required.
	StorageURL string `name:"tecken-storage-url" default:"file:data/symbols" help:"Symbols: file:<directory> or s3://bucket/prefix?region=…&endpoint=…&path_style=true&checksum=crc32|md5|none"`
}

// Database is what every command that reads or writes records needs.
type Database struct {
	// DatabaseURL is sqlite:<path>, the path relative or absolute, or postgres://…, as PostgreSQL's own
	// clients take it: several hosts, and target_session_attrs, too. PgBouncer may stand in between, in transaction mode.
	DatabaseURL string `name:"tecken-database-url" default:"sqlite:data/tecken.db" help:"Records: sqlite:<path> or postgres://…"`

	// DatabaseMaxConns bounds the connections of this process to PostgreSQL. Work waits for one.
	DatabaseMaxConns int `name:"tecken-database-max-conns" default:"10" help:"Connections to PostgreSQL."`
}

// Tenants is what every command that deals with tenants' leases needs.
type Tenants struct {
	// RedisURL is where several instances share their tenants' leases: redis://, rediss:// or unix://. Without
	// it they are this process's own.
	RedisURL string `name:"tecken-redis-url" placeholder:"URL" help:"Where instances share tenants' leases."`

	// TenantUploads bounds the uploads of one tenant at once, multiplied by its weight.
	TenantUploads int `name:"tecken-tenant-uploads" default:"8" help:"Uploads of one tenant at once, times its weight."`

	// TenantStale is how long a lease that a dead instance held still counts; live ones renew theirs every
	// quarter of it. It must be the same on all instances.
	TenantStale time.Duration `name:"tecken-tenant-stale" default:"60s" help:"How long a dead instance's leases count."`
}

// Server is everything the server can be told. Limits need no order among themselves: the smallest wins.
type Server struct {
	Process
	Spool
	Storage
	Database
	Tenants

	// Listen is where clients are served. Where only PORT is set, it is 0.0.0.0:$PORT.
	Listen string `name:"tecken-listen" port:"PORT" default:"127.0.0.1:8000" help:"Address to serve clients at. PORT alone means 0.0.0.0:$$PORT."`

	// MetricsListen is where Prometheus finds /metrics. It is not for the public.
	MetricsListen string `name:"tecken-metrics-listen" default:"127.0.0.1:8001" help:"Address to serve /metrics at."`

	// SpoolMax bounds the bytes that uploads have in the spool, however much its file system has free: for volumes with a
	// limit that the file system does not show. 0 is no bound.
	SpoolMax Size `name:"tecken-spool-max" placeholder:"SIZE" help:"Most bytes that uploads have in the spool, however much its file system has free. Default: no bound."`

	// UploadTimeout is how long an upload may take from its last byte to its answer.
	UploadTimeout time.Duration `name:"tecken-upload-timeout" default:"5m" help:"From the last byte received to the answer."`

	// ReceiveTimeout is how long a whole body may take.
	ReceiveTimeout time.Duration `name:"tecken-receive-timeout" default:"30m" help:"How long a body may take to arrive."`

	// ReceiveStallTimeout is how long a client may send nothing.
	ReceiveStallTimeout time.Duration `name:"tecken-receive-stall-timeout" default:"30s" help:"How long a client may send nothing."`

	// ReceiveMinRate is the slowest that a body may arrive, over 60 s. It is enforced only while another
	// upload is refused for room; 0/s never is.
	ReceiveMinRate Rate `name:"tecken-receive-min-rate" default:"32KiB/s" help:"Slowest a body may arrive while others are refused for room."`

	// MaxUploadSize bounds an archive. The request's body may be 1 MiB more.
	MaxUploadSize Size `name:"tecken-max-upload-size" default:"2GiB" help:"Largest archive."`

	// MaxMemberSize bounds one member, inflated. A member of a tar is at most 2 GiB.
	MaxMemberSize Size `name:"tecken-max-member-size" default:"8GiB" help:"Largest member, inflated."`

	// MaxExtractedSize bounds all members of an archive together, inflated.
	MaxExtractedSize Size `name:"tecken-max-extracted-size" default:"32GiB" help:"Largest archive, inflated."`

	// MaxMembers bounds the number of an archive's members.
	MaxMembers int `name:"tecken-max-members" default:"10000" help:"Most members of an archive."`

	// DisallowedSnippets are looked for in the names of members; one that is found rejects the archive.
	DisallowedSnippets List `name:"tecken-disallowed-snippets" default:"qcom/proprietary" help:"Snippets that no member's name may hold, comma separated."`

	// CPUSlots bounds the members that are verified at once.
	CPUSlots int `name:"tecken-cpu-slots" default:"${cores}" help:"Members verified at once."`

	// DecoderMemory bounds what the decoders of all compressed tars hold together, one tenant's half of it. One that asks for more is
	// alone. zstd and xz ask for 8 MiB as a rule, and for 128 and 64 MiB at most.
	DecoderMemory Size `name:"tecken-decoder-memory" default:"256MiB" help:"Memory that decoders of compressed tars hold together."`

	// StorageSlots bounds the members that are published at once, and the connections to storage: there are as many, and twice as
	// many more for when calls hang.
	StorageSlots int `name:"tecken-storage-slots" default:"16" help:"Members published at once."`

	// MaxReceiving bounds the bodies that arrive at once.
	MaxReceiving int `name:"tecken-max-receiving" default:"64" help:"Bodies received at once."`

	// AdmissionWait is how long a request waits for a place before it is refused; 0s means not at all, but for Redis to be asked for
	// a lease.
	AdmissionWait time.Duration `name:"tecken-admission-wait" default:"10s" help:"How long a request waits for a place."`

	// StallAlarm is how long work may wait with no progress anywhere before that is an alarm.
	StallAlarm time.Duration `name:"tecken-stall-alarm" default:"60s" help:"How long work may wait without progress."`

	// DiskFullThreshold is how many disk-full errors inside DiskFullWindow turn the heartbeats red.
	DiskFullThreshold int `name:"tecken-disk-full-threshold" default:"3" help:"Disk-full errors that turn the heartbeats red."`

	// DiskFullWindow is how long a disk-full error counts.
	DiskFullWindow time.Duration `name:"tecken-disk-full-window" default:"5m" help:"How long a disk-full error counts."`

	// ShutdownDelay is how long the load balancer's heartbeat is red before the listener closes.
	ShutdownDelay time.Duration `name:"tecken-shutdown-delay" default:"5s" help:"How long the heartbeat is red before closing."`

	// ShutdownTimeout is how long uploads in flight may finish before they are cancelled.
	ShutdownTimeout time.Duration `name:"tecken-shutdown-timeout" default:"5m" help:"How long uploads in flight may finish."`

	// Retention is how long records of regular uploads are kept, at most 876000h (100 years). It is to be what the bucket's own
	// rules give regular symbols: a skipped one older than half of it is refreshed, and one that is to go before a try
	// upload's would does for no try upload.
	Retention time.Duration `name:"tecken-retention" default:"17520h" help:"How long records of regular uploads are kept. Skipped symbols older than half of it are refreshed. At most 876000h."`

	// TryRetention is the same for try uploads; and try symbols in a directory are removed after it.
	TryRetention time.Duration `name:"tecken-try-retention" default:"720h" help:"The same for try uploads; and how long a directory keeps try symbols."`

	// UploadByURLDomains are the exact hosts that uploads may be fetched from, at port 443 unless an entry names
	// another: host:8443. Empty: upload by URL is off.
	UploadByURLDomains List `name:"tecken-upload-by-url-domains" placeholder:"HOST,..." help:"Hosts to fetch uploads from, comma separated. Default: none."`
	// StoragePublicURL is the base of download redirects, to which object keys are appended. Without it they are
	// presigned. Of directory storage the server sends the bytes itself.
	StoragePublicURL string `name:"tecken-storage-public-url" placeholder:"URL" help:"Base of download redirects. Without it they are presigned."`

	// PresignExpiry is how long a presigned redirect is good for, at most 7 days (S3's own limit).
	PresignExpiry time.Duration `name:"tecken-presign-expiry" default:"15m" help:"How long a presigned redirect is good for."`

	// DownloadExtensions are the ends of names that are looked up, in any case; others are a 404 without a look. "all", or none:
	// whatever is stored is found.
	DownloadExtensions List `name:"tecken-download-extensions" default:"all" help:"Ends of names that are looked up, comma separated."`

	// PublicURL is the address that clients know the server by, for answers that name one. Without it they name the one that the
	// request was sent to.
	PublicURL string `name:"tecken-public-url" placeholder:"URL" help:"The address that clients use. Default: the one a request was sent to."`

	// LegacyKeys lets a lookup that misses look once more, with the id as it was sent.
	LegacyKeys bool `name:"tecken-legacy-keys" default:"false" help:"On a miss, look once more with the id as sent."`
}
