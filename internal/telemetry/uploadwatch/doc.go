// Package uploadwatch reports uploads: to a log, to Prometheus and to Sentry, by means of package telemetry.
//
// An upload leaves exactly one line, msg "upload ended", with the keys
//
//	upload tenant label user filename try format    sender and file
//	download_url redirect_urls                      where it was fetched from, if it was; without queries
//	declared bytes                                  the request's Content-Length, where it has one; the archive, as received
//	members member_bytes stored_bytes               how many; inflated; as stored now
//	uploaded skipped ignored pending                members by what became of them
//	extensions                                      for each class of [Extension]: files, bytes
//	phases elapsed                                  seconds in each phase; from first byte to end
//	outcome status phase err                        how it ended, the HTTP status for that, where, and why
package uploadwatch
