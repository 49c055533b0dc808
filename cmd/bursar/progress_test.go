package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressInAPipeIsAFewPlainLines(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(w *strings.Builder) *progress
		want string
	}{
		{"of most commands, once they take long", func(w *strings.Builder) *progress { return newProgress(w) },
			"reading 10 of 35\nreading 20 of 35\nreading 30 of 35\nwriting\nreading 1 of 2\n"},
		{"of a benchmark", func(w *strings.Builder) *progress { return newBenchProgress(w) },
			"starting\nreading 0 of 35\nreading 10 of 35\nreading 20 of 35\nreading 30 of 35\nwriting\nreading 1 of 2\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				p := c.make(&out)
				p.step("starting")
				for i := range 35 {
					p.step("reading %d of %d", i, 35)
					time.Sleep(time.Second)
				}
				p.step("writing")
				p.step("reading %d of %d", 1, 2)
				p.done()
				if out.String() != c.want {
					t.Errorf("it says\n%swant\n%s", out.String(), c.want)
				}
			})
		})
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	p.terminal = true
	p.step("reading %d", 1)
	p.step("reading %d", 2)
	p.done()
	p.done()
	if want := eraseLine + "reading 1 …" + eraseLine + "reading 2 …" + eraseLine; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
