// Package ledgerfile writes ledger lines as an Apache Parquet file, for people
// who bring their own analytics. DuckDB, pandas, Spark and the rest read it as it is.
//
// A row is a line and has a column for each of its fields, under the API's names.
// Amounts are 64-bit integers in a capability's smallest unit, as everywhere. The
// built-in capabilities have a column each, null where a line does not have them; the column usage,
// a map, has all of a line. Times are UTC, to the millisecond.
//
// Writing takes bounded memory, whatever the length of the ledger: rows are
// written out in groups of at most groupRows rows and about groupBytes bytes. A file without the footer, which Close
// writes, is no Parquet file: a reader cannot take a part for the whole.
//
//	row.go    what a line is as a row
//	write.go  the writer
package ledgerfile
