package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/alecthomas/kong"
)

// FuzzConfig starts the real command line with whatever a configuration file may
// hold: flags, or an error, never a panic. Nothing is run.
func FuzzConfig(f *testing.F) {
	f.Add("log-level: info\nserve:\n  node-id: node-1\n  data-dir: /tmp/x\n  join: [10.0.0.1:7095, 10.0.0.2:7095]\n  insecure-peers: true\n")
	f.Add("serve:\n  stop-timeout: 1h\n  bootstrap-expect: -3\n  gossip-key: '='\n")
	f.Add("serve: [1, {a: b}]\n")
	f.Add("? ? a\n: &x [*x]")
	path := filepath.Join(f.TempDir(), "bursar.yaml")
	f.Fuzz(func(t *testing.T, file string) {
		if err := os.WriteFile(path, []byte(file), modePrivate); err != nil {
			t.Fatal(err)
		}
		var c cli
		parser, err := kong.New(&c, kong.Name("bursar"), kong.DefaultEnvars("BURSAR_FUZZ"), kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = parser.Parse([]string{"serve", "--config", path})
	})
}
