// Package record keeps users, tokens, uploads and their files in a database, and removes what has expired.
//
// Package database below it is SQLite or PostgreSQL, and says what is durable and what an outage does. Package query reads lists, statistics
// and lookups. A [Store] is all three.
//
// Guaranteed:
//
//   - An upload's end and all its files are written in one transaction, or not at all. Ending it again changes
//     nothing. An upload has no end if its process died.
//   - Of a token only its SHA-256 is stored.
//   - Ids start at 1, those of uploads stay below 2^32, and none is used twice.
//
// A flawed record is better than none: text is never refused, but stored as database.Text. Values of a new column for older rows are not a
// migration's: [Store.RunFolding] adds them while the Store works.
//
// Not promised: if the database's answer to Begin is lost, the upload may be recorded twice, once for each attempt.
package record
