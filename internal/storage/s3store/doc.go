// Package s3store keeps symbol files in a bucket of Amazon S3, or of a server that speaks its protocol.
//
// One Store holds one client and one bounded pool of HTTP/1.1 connections, for the life of the process:
// calls beyond the pool wait in line for a connection. The layout of the bucket is package storage's;
// objects that are stored as gzip say so in Content-Encoding. All of it may lie below a prefix.
//
// A body goes out as it is, with its CRC-32 in x-amz-checksum-crc32 for the server to check, and without
// being hashed a second time for the signature (UNSIGNED-PAYLOAD). For servers that do not know that, it goes out with its MD5
// (Content-MD5), or with nothing but its SHA-256 in the signature, as the storage's URL says. It is checked here, too, while it goes
// out: of a body that is not what it was declared to be, the last bytes are never sent. Bodies above
// 5 GiB, the most that one PUT may have, go up in parts; a failed multipart upload is aborted. (One whose
// process was killed stays in the bucket, invisible: a lifecycle rule with AbortIncompleteMultipartUpload
// removes it.)
//
// What may pass is tried again with back-off and jitter, inside the caller's context: connections refused,
// reset or silent, 429, 5xx and SlowDown. An attempt on which nothing moves is ended and counts as failed.
// What no retry mends fails at once, with an upload.RefusedError; the table of what that is stands in refusal.go.
//
// Sent is what Amazon's S3 understands and no other is known to choke on: Accept-Encoding is not signed. Times are those of the
// server's clock. The first object that is stored is looked at, to see that its metadata have arrived.
//
// The credentials need s3:GetObject, s3:PutObject, s3:AbortMultipartUpload, and s3:ListBucket, without
// which S3 answers 403 for what does not exist; SetAside needs s3:DeleteObject too.
//
// Two things are not promised. An attempt that was given up may still be carried out by the server, later
// than what was stored after it. And Refresh copies the object onto itself: a Put of other content that
// ends while the server is at it can be undone by the copy.
//
// Protocol: https://docs.aws.amazon.com/AmazonS3/latest/API/
package s3store
