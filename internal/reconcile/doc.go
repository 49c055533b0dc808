// Package reconcile compares what the ledger says that models cost with what a
// provider's bill says, per day, model and capability.
//
// It reads a provider's CSV export (Read), row by row, maps its columns to days,
// models and amounts (Mapping), and sums both sides in a Sheet, whose lines are
// the comparison. It knows no network and no ledger: the caller adds our side.
//
// Sums are exact. An amount is a whole number of 10^-30 units (Amount), so that
// no bill is rounded; nothing passes through a float. Days are the provider's:
// stretches of time that a Calendar gives, which need not begin with an hour of the account's time zone.
//
// Memory is bounded by the number of pairs of day and model (maxCells) and the
// length of one record (maxRecord), whatever the length of the file.
//
//	amount.go    exact numbers
//	alias.go     names of models, theirs and ours, as one
//	mapping.go   which column is what, and the formats that are known
//	read.go      the CSV reader, with errors that name line and column
//	days.go      dates as days of the provider
//	sheet.go     the comparison
package reconcile
