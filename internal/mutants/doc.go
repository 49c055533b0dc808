// Command mutants shows that the tests would notice: it plants bugs, one at a time, and
// runs the test that has to fail for each.
//
//	go run ./internal/mutants                  all of them; a few minutes
//	go run ./internal/mutants -only journal    those whose name matches
//	go run ./internal/mutants -list            what there is
//
// The tree is never changed: a planted bug is compiled from an overlay. It exits with 1
// if a bug survives, cannot be planted any more, or does not compile.
//
// table.go holds the bugs. Whoever changes a line that one of them changes is told by
// TestEveryBugCanBePlanted, and moves it along.
package main
