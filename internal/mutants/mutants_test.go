package main

import (
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// The table must not rot: each bug still has its place, and its test exists.
func TestEveryBugCanBePlanted(t *testing.T) {
	names := map[string]bool{}
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			if names[b.name] || b.breaks == "" {
				t.Error("every bug has a name of its own and says what it breaks")
			}
			names[b.name] = true
			mutated, err := b.mutate(root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), b.file, mutated, 0); err != nil {
				t.Errorf("it is not Go: %v", err)
			}
			if !hasTest(t, filepath.Join(root, b.pkg()), b.test) {
				t.Errorf("%s has no %s", b.pkg(), b.test)
			}
		})
	}
	if len(bugs) < 15 {
		t.Errorf("%d bugs; they are to be many", len(bugs))
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "func "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// TestPlantedBugsAreCaught plants the bugs whose name matches BURSAR_MUTANTS ("." for all).
func TestPlantedBugsAreCaught(t *testing.T) {
	only := os.Getenv("BURSAR_MUTANTS")
	if only == "" {
		t.Skip("set BURSAR_MUTANTS to a pattern of names; . for all of them")
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		if pattern.MatchString(b.name) {
			t.Run(b.name, func(t *testing.T) {
				found, err := b.plant(t.Context(), dir)
				if err != nil {
					t.Fatal(err)
				}
				if !found {
					t.Errorf("%s does not find it", b.test)
				}
			})
		}
	}
}

func TestWhatGoTestSaysIsUnderstood(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		name, out string
		err       error
		found, ok bool
	}{
		{"a test that fails", "--- FAIL: TestX (0.00s)\nFAIL\n", failed, true, true},
		{"a test that panics", "panic: nil map\n", failed, true, true},
		{"a test that passes", "ok  \tpkg\t0.1s\n", nil, false, true},
		{"no such test", "ok  \tpkg\t0.1s [no tests to run]\n", nil, false, false},
		{"it does not compile", "x.go:1: no\nFAIL\tpkg [build failed]\n", failed, false, false},
		{"anything else", "signal: killed\n", failed, false, false},
	} {
		if found, err := judge(c.out, c.err); found != c.found || (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, found, err)
		}
	}
}
