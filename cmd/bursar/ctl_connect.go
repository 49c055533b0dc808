package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// tokenFlags say who is asking.
type tokenFlags struct {
	Token     string `help:"Access token. Better in the environment or a file, which other users of the machine cannot read." env:"BURSAR_TOKEN" placeholder:"bt_…"`
	TokenFile string `help:"File that holds the access token." env:"BURSAR_TOKEN_FILE" placeholder:"FILE"`
}

// secret returns the token. A file is more deliberate than a token that merely
// stands in the environment, but not than one on the command line.
func (f *tokenFlags) secret() (string, error) {
	fromEnvironment := f.Token == os.Getenv("BURSAR_TOKEN")
	if f.Token != "" && (f.TokenFile == "" || !fromEnvironment) {
		return f.Token, nil
	}
	if f.TokenFile == "" {
		return "", errors.New("no access token: set BURSAR_TOKEN, or give --token-file or --token")
	}
	b, err := os.ReadFile(f.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("--token-file %s is empty", f.TokenFile)
	}
	return token, nil
}

// adminFlags reach the control plane. Commands embed it.
type adminFlags struct {
	Admin  []string `help:"Control plane of a node; several for several nodes." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	Output string   `short:"o" help:"table or json." env:"BURSAR_OUTPUT" enum:"table,json" default:"table"`
	tokenFlags
}

// session is one command's conversation with the control plane.
type session struct {
	*client.Admin
	out    io.Writer
	format string
	caps   map[string]client.Capability // see capability
}

// with connects, runs do, and explains what went wrong.
func (f *adminFlags) with(k *kong.Context, do func(s *session) error) error {
	return withAdmin(f.Admin, &f.tokenFlags, f.Output, k, do)
}

func withAdmin(endpoints []string, t *tokenFlags, format string, k *kong.Context, do func(s *session) error) error {
	token, err := t.secret()
	if err != nil {
		return usageError{err}
	}
	a, err := client.NewAdmin(withScheme(endpoints), token)
	if err != nil {
		return usageError{fmt.Errorf("--admin: %w", err)}
	}
	defer a.Close()
	return explain(do(&session{Admin: a, out: k.Stdout, format: format}))
}

// dataFlags reach the data plane, and the control plane for the decimals of capabilities that are not built in.
type dataFlags struct {
	Endpoint []string `help:"Data plane of a node; several for several nodes." env:"BURSAR_ENDPOINT" default:"http://127.0.0.1:7070" placeholder:"URL"`
	Admin    []string `help:"Control plane of a node, asked for the decimals of capabilities that are not built in." env:"BURSAR_ADMIN" default:"http://127.0.0.1:7080" placeholder:"URL"`
	Output   string   `short:"o" help:"table or json." env:"BURSAR_OUTPUT" enum:"table,json" default:"table"`
	tokenFlags
}

// with connects to both planes, runs do, and explains what went wrong.
func (f *dataFlags) with(k *kong.Context, do func(s *session, c *client.Client) error) error {
	return withAdmin(f.Admin, &f.tokenFlags, f.Output, k, func(s *session) error {
		token, err := f.secret()
		if err != nil {
			return err
		}
		c, err := client.New(client.Options{Endpoints: withScheme(f.Endpoint), Token: token})
		if err != nil {
			return usageError{fmt.Errorf("--endpoint: %w", err)}
		}
		defer c.Close()
		return do(s, c)
	})
}

// withScheme lets a person leave out http://.
func withScheme(endpoints []string) []string {
	urls := make([]string, len(endpoints))
	for i, e := range endpoints {
		if !strings.Contains(e, "://") {
			e = "http://" + e
		}
		urls[i] = e
	}
	return urls
}

// capability returns how amounts of id are written. Built-in ones are known;
// the others are read from the cluster, once.
func (s *session) capability(ctx context.Context, id string) (client.Capability, error) {
	if c, ok := s.known()[id]; ok {
		return c, nil
	}
	all, err := client.Collect(s.Capabilities(ctx))
	if err != nil {
		return client.Capability{}, fmt.Errorf("reading the decimals of %s: %w", id, err)
	}
	for _, c := range all {
		s.caps[c.ID] = c
	}
	if c, ok := s.caps[id]; ok {
		return c, nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(s.caps)), ", ")
	return client.Capability{}, usageError{fmt.Errorf("there is no capability %s; there are %s", id, known)}
}

// known returns the capabilities that capability does not ask for.
func (s *session) known() map[string]client.Capability {
	if s.caps == nil {
		s.caps = make(map[string]client.Capability)
		for _, c := range fsm.Builtins() {
			s.caps[c.ID] = client.Capability{ID: c.ID, Unit: c.Unit, Decimals: int(c.Decimals), Builtin: true}
		}
	}
	return s.caps
}

// decimals is capability for output: one that has gone is shown in its smallest unit.
func (s *session) decimals(ctx context.Context, id string) client.Capability {
	c, err := s.capability(ctx, id)
	if err != nil {
		return client.Capability{ID: id}
	}
	return c
}

// first takes up to limit items, or all if limit is 0.
func first[T any](seq iter.Seq2[T, error], limit int) ([]T, error) {
	var items []T
	for item, err := range seq {
		if err != nil {
			return nil, err
		}
		if items = append(items, item); len(items) == limit {
			break
		}
	}
	return items, nil
}

// confirm asks before something that cannot be undone. Without a terminal only --yes will do.
func confirm(k *kong.Context, given bool, question string) error {
	if given {
		return nil
	}
	if !isTerminal(os.Stdin) {
		return usageError{fmt.Errorf("%s This cannot be undone: say --yes", question)}
	}
	fmt.Fprintf(k.Stderr, "%s This cannot be undone. Type yes: ", question)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("not done")
	}
	return nil
}

// moment is a time flag: RFC 3339, or a date, which is midnight UTC.
type moment struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(b []byte) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, string(b)); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q is neither a date (2026-01-31) nor a time (2026-01-31T12:00:00Z)", b)
}

// orNil returns nil for a flag that was not given.
func (m moment) orNil() *time.Time {
	if m.IsZero() {
		return nil
	}
	return &m.Time
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
