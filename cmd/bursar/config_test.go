package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// configCLI is a small command tree with flags at several depths.
type configCLI struct {
	Config configFile
	Level  string

	Serve struct {
		Addr string `default:"default"`
		Join []string
		Fast bool
	} `cmd:""`
	Token struct {
		Make struct {
			Addr string
		} `cmd:""`
	} `cmd:""`
}

func parseConfigCLI(t *testing.T, file string, args ...string) (*configCLI, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bursar.yaml")
	if err := os.WriteFile(path, []byte(file), modePrivate); err != nil {
		t.Fatal(err)
	}
	var c configCLI
	parser, err := kong.New(&c, kong.DefaultEnvars("BURSAR"), kong.Name("bursar"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(append(args, "--config", path))
	return &c, err
}

func TestFlagsComeFromCommandLineThenEnvironmentThenFile(t *testing.T) {
	const file = "level: info\naddr: for-all\nserve:\n  addr: for-serve\n  join: [a, b]\n  fast: true\n"
	for _, tt := range []struct {
		name string
		file string
		env  string
		args []string
		want string
	}{
		{"default", "", "", []string{"serve"}, "default"},
		{"empty file", "# nothing\n", "", []string{"serve"}, "default"},
		{"top level", "addr: for-all\n", "", []string{"serve"}, "for-all"},
		{"the command's own over the top level", file, "", []string{"serve"}, "for-serve"},
		{"environment over file", file, "from-env", []string{"serve"}, "from-env"},
		{"command line over environment", file, "from-env", []string{"serve", "--addr", "from-args"}, "from-args"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv("BURSAR_ADDR", tt.env)
			}
			c, err := parseConfigCLI(t, tt.file, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Serve.Addr != tt.want {
				t.Errorf("addr = %q, want %q", c.Serve.Addr, tt.want)
			}
		})
	}
	t.Run("lists, switches, commands of commands", func(t *testing.T) {
		c, err := parseConfigCLI(t, file+"token:\n  make:\n    addr: for-make\n", "serve")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "b"}, c.Serve.Join); diff != "" || !c.Serve.Fast || c.Level != "info" {
			t.Errorf("join %v, fast %v, level %q (%s)", c.Serve.Join, c.Serve.Fast, c.Level, diff)
		}
		c, err = parseConfigCLI(t, "token:\n  make:\n    addr: for-make\n", "token", "make")
		if err != nil || c.Token.Make.Addr != "for-make" {
			t.Errorf("addr of token make = %q, %v", c.Token.Make.Addr, err)
		}
	})
	t.Run("the file itself from the environment", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte("addr: for-all\n"), modePrivate); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BURSAR_CONFIG", path)
		var c configCLI
		parser, err := kong.New(&c, kong.DefaultEnvars("BURSAR"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"serve"}); err != nil || c.Serve.Addr != "for-all" {
			t.Errorf("addr = %q, %v", c.Serve.Addr, err)
		}
	})
}

func TestMisspeltKeysAreRefused(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"adr: x\n", "adr"},
		{"serve:\n  jion: [a]\n", "serve.jion"},
		{"server:\n  addr: x\n", "server"},
		{"token:\n  make:\n    join: a\n", "token.make.join"},
		{"addr: [unclosed\n", "yaml"},
		{"- a list\n", "yaml"},
	} {
		_, err := parseConfigCLI(t, tt.file, "serve")
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--config") {
			t.Errorf("%q: error %v, want one that names --config and %q", tt.file, err, tt.want)
		}
	}
}
