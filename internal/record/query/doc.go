// Package query answers what package catalogue asks of the records: lists, searches in keys, statistics, and lookups of stored files.
//
// Every answer comes from a bounded number of rows, found by an index: a [walk] reads the next rows in the order of an index, and only these
// are compared with filters that have none. A page ends with a cursor, its last row's key.
package query
