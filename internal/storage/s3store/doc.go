// Package s3store keeps symbol files in a bucket of Amazon S3, or of a server that speaks its protocol.
//
// One Store holds one client and one bounded pool of HTTP/1.1 connections for the life of the process; calls beyond the pool wait for a
// connection. The layout is package storage's, optionally below a prefix. Objects stored as gzip have that Content-Encoding.
//
// A PUT has the body's CRC-32 in x-amz-checksum-crc32 for the server to check, and no hash in its signature (UNSIGNED-PAYLOAD). For servers
// without that header the storage's URL chooses the MD5 (Content-MD5), or the SHA-256 in the signature alone. The body is also checked here
// as it is sent: of a body that differs from its declaration the last byte is never sent.
//
// A staged body, and one above 5 GiB, the limit of one PUT, goes up in the parts of a multipart upload to its key, with the metadata it will
// have; Commit completes it. Parts are sent several at once, straight from where the body is; those of a body that can only be read from its
// start are held in memory, four of them in all. A failed multipart upload is aborted. A killed process leaves its parts in the bucket,
// invisible: Discard aborts what the records know, and a lifecycle rule with AbortIncompleteMultipartUpload the rest.
//
// Temporary errors are retried with back-off and jitter inside the caller's context: connections refused, reset or silent, 429, 5xx and
// SlowDown. An attempt without movement is ended and counts as failed. Permanent errors fail at once with an upload.RefusedError;
// refusal.go has the table.
//
// Requests use what Amazon's S3 understands and other S3s tolerate: Accept-Encoding is not signed. Times are those of the server's clock.
// After the first PUT the Store checks that the object's metadata have arrived.
//
// The credentials need s3:GetObject, s3:PutObject, s3:AbortMultipartUpload, and s3:ListBucket, without which S3 answers 403 for missing
// objects; SetAside needs s3:DeleteObject too, and Leftovers s3:ListBucketMultipartUploads.
//
// Two things are not promised. The server may still carry out an abandoned attempt, later than what was stored after it. And Refresh copies
// the object onto itself: the copy can undo a Put of other content that ends meanwhile.
//
// Protocol: https://docs.aws.amazon.com/AmazonS3/latest/API/
package s3store
