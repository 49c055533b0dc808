package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/bursar-dev/bursar/client"
)

const (
	maxConfiguration = 64 << 20 // bytes of a file given to apply
	maxBulk          = 1_000    // items of one bulk write, by the contract
)

// applyCmd upserts what a file lists. Applying it again changes nothing; what it
// does not list stays as it is.
type applyCmd struct {
	File     string `short:"f" required:"" help:"YAML or JSON with entity_types, capabilities and accounts, or a file of lines (.ndjson, .jsonl) of any size; - reads standard input." placeholder:"FILE"`
	Lines    bool   `help:"The file is one of lines, whatever its name is."`
	FromLine int    `help:"Of a file of lines: write from this line on, as a run that was cut off said." default:"1" placeholder:"N"`
	adminFlags
}

// Help is shown below the flags' summary.
func (*applyCmd) Help() string {
	return `The file lists what there shall be; what it does not list stays as it is. Amounts are written as a person writes them:

  entity_types:
    - {id: team, parents: [account]}
  capabilities:
    - {id: audio, unit: second, decimals: 3}
  accounts:
    - id: acme
      name: Acme
      entities:
        - {id: team-a, type: team}
      assignments:
        - {entity: team-a, capability: usd, limit: 250.00, cadence: month, enforcement: hard}

A file of lines has one JSON object a line and may be of any size. Parents come before their children or at most some
hundred lines after; entities and assignments belong to the account named last. Applying it again changes nothing:

  {"entity_type": {"id": "team"}}
  {"account": {"id": "acme", "name": "Acme"}}
  {"entity": {"id": "team-a", "type": "team"}}
  {"assignment": {"entity": "team-a", "capability": "usd", "limit": 250.00, "cadence": "month"}}
`
}

// configuration is the file.
type configuration struct {
	EntityTypes  []entityTypeSpec `yaml:"entity_types"`
	Capabilities []capabilitySpec `yaml:"capabilities"`
	Accounts     []accountSpec    `yaml:"accounts"`
}

type entityTypeSpec struct {
	ID      string   `yaml:"id" json:"id"`
	Name    string   `yaml:"name" json:"name"`
	Parents []string `yaml:"parents" json:"parents"`
}

type capabilitySpec struct {
	ID       string `yaml:"id" json:"id"`
	Unit     string `yaml:"unit" json:"unit"`
	Decimals int    `yaml:"decimals" json:"decimals"`
}

type accountSpec struct {
	ID          string           `yaml:"id" json:"id"`
	Name        string           `yaml:"name" json:"name"`
	Timezone    string           `yaml:"timezone" json:"timezone"`
	Entities    []entitySpec     `yaml:"entities" json:"entities"`
	Assignments []assignmentSpec `yaml:"assignments" json:"assignments"`
}

type entitySpec struct {
	ID       string            `yaml:"id" json:"id"`
	Type     string            `yaml:"type" json:"type"`
	Parent   string            `yaml:"parent" json:"parent"`
	Name     string            `yaml:"name" json:"name"`
	Metadata map[string]string `yaml:"metadata" json:"metadata"`
}

type assignmentSpec struct {
	Entity          string      `yaml:"entity" json:"entity"`
	Capability      string      `yaml:"capability" json:"capability"`
	Limit           amountSpec  `yaml:"limit" json:"limit"`
	Cadence         cadenceSpec `yaml:"cadence" json:"cadence"`
	Enforcement     string      `yaml:"enforcement" json:"enforcement"`
	Mode            string      `yaml:"mode" json:"mode"`
	Scope           []string    `yaml:"scope" json:"scope"`
	AlertThresholds []int       `yaml:"alert_thresholds" json:"alert_thresholds"`
	Backfill        bool        `yaml:"backfill" json:"backfill"`
}

// amountSpec is an amount as it is written in the file: 250.00 never becomes a float.
type amountSpec struct {
	text string
	line int
}

// UnmarshalYAML keeps the text.
func (a *amountSpec) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: a limit is an amount or %s", n.Line, unlimited)
	}
	a.text, a.line = n.Value, n.Line
	return nil
}

// cadenceSpec is an object, or a bare word in UTC.
type cadenceSpec struct {
	Every    string     `yaml:"every" json:"every"`
	Timezone string     `yaml:"timezone" json:"timezone"`
	Anchor   *time.Time `yaml:"anchor" json:"anchor"`
}

// UnmarshalYAML accepts both.
func (c *cadenceSpec) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&c.Every)
	}
	// A node's own decoder would pass over fields it does not know.
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i].Value; !slices.Contains([]string{"every", "timezone", "anchor"}, key) {
			return fmt.Errorf("line %d: a cadence has no field %s", n.Content[i].Line, key)
		}
	}
	type object cadenceSpec
	return n.Decode((*object)(c))
}

// Validate implements kong's hook.
func (c *applyCmd) Validate() error {
	switch c.Lines = c.Lines || isLines(c.File); {
	case c.FromLine < 1:
		return fmt.Errorf("--from-line %d: lines are counted from 1", c.FromLine)
	case c.FromLine > 1 && !c.Lines:
		return errors.New("--from-line is for a file of lines (.ndjson, .jsonl or --lines)")
	}
	return nil
}

func (c *applyCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Lines {
		return c.runLines(ctx, k)
	}
	file, err := readConfiguration(c.File)
	if err != nil {
		return usageError{fmt.Errorf("--file %s: %w", c.File, err)}
	}
	return c.with(k, func(s *session) error {
		done := &applied{}
		return done.report(s, file.apply(ctx, s, done))
	})
}

func (c *applyCmd) runLines(ctx context.Context, k *kong.Context) error {
	in, err := openInput(c.File)
	if err != nil {
		return err
	}
	defer in.Close()
	return c.with(k, func(s *session) error {
		live := newProgress(k.Stderr)
		done := &applied{}
		err := applyLines(ctx, s, in, c.FromLine, live, done)
		live.done()
		if err != nil {
			err = fmt.Errorf("--file %s: %w", c.File, err)
		}
		return done.report(s, err)
	})
}

func readConfiguration(path string) (*configuration, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return decodeConfiguration(in)
}

func decodeConfiguration(in io.Reader) (*configuration, error) {
	d := yaml.NewDecoder(io.LimitReader(in, maxConfiguration))
	d.KnownFields(true)
	c := new(configuration)
	if err := d.Decode(c); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if err := d.Decode(new(configuration)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	return c, nil
}

// applied counts what has been written.
type applied struct {
	EntityTypes  int `json:"entity_types"`
	Capabilities int `json:"capabilities"`
	Accounts     int `json:"accounts"`
	Entities     int `json:"entities"`
	Assignments  int `json:"assignments"`
}

// report prints what has been written, or adds it to what went wrong.
func (a *applied) report(s *session, err error) error {
	if err != nil {
		return fmt.Errorf("%w\n%s", err, a)
	}
	if s.format == outputJSON {
		return writeJSON(s.out, a)
	}
	_, err = fmt.Fprintln(s.out, a)
	return err
}

func (a *applied) String() string {
	return fmt.Sprintf("Applied: entity types %d, capabilities %d, accounts %d, entities %d, assignments %d.",
		a.EntityTypes, a.Capabilities, a.Accounts, a.Entities, a.Assignments)
}

// apply writes what others refer to first. Each bulk write is all or nothing;
// the file as a whole is not, and can be applied again.
func (f *configuration) apply(ctx context.Context, s *session, done *applied) error {
	for batch := range slices.Chunk(f.EntityTypes, maxBulk) {
		if _, err := s.PutEntityTypes(ctx, mapped(batch, entityTypeSpec.wire)); err != nil {
			return fmt.Errorf("entity types: %w", err)
		}
		done.EntityTypes += len(batch)
	}
	for batch := range slices.Chunk(f.Capabilities, maxBulk) {
		if _, err := s.PutCapabilities(ctx, mapped(batch, capabilitySpec.wire)); err != nil {
			return fmt.Errorf("capabilities: %w", err)
		}
		done.Capabilities += len(batch)
	}
	for _, a := range f.Accounts {
		if err := a.apply(ctx, s, done); err != nil {
			return fmt.Errorf("account %s: %w", a.ID, err)
		}
	}
	return nil
}

func (a *accountSpec) apply(ctx context.Context, s *session, done *applied) error {
	if a.ID == "" {
		return usageError{errors.New("an account needs an id")}
	}
	assignments, err := a.assignments(ctx, s)
	if err != nil {
		return err
	}
	if a.Name != "" {
		if _, err := s.PutAccount(ctx, client.Account{ID: a.ID, Name: a.Name, Timezone: a.Timezone}); err != nil {
			return err
		}
		done.Accounts++
	}
	for batch := range slices.Chunk(a.Entities, maxBulk) {
		if _, err := s.PutEntities(ctx, a.ID, mapped(batch, entitySpec.wire)); err != nil {
			return fmt.Errorf("entities: %w", err)
		}
		done.Entities += len(batch)
	}
	for batch := range slices.Chunk(assignments, maxBulk) {
		if _, err := s.PutAssignments(ctx, a.ID, batch); err != nil {
			return fmt.Errorf("assignments: %w", err)
		}
		done.Assignments += len(batch)
	}
	return nil
}

// assignments reads the amounts before anything of the account is written.
func (a *accountSpec) assignments(ctx context.Context, s *session) ([]client.Assignment, error) {
	out := make([]client.Assignment, len(a.Assignments))
	for i := range a.Assignments {
		var err error
		if out[i], err = a.Assignments[i].wire(ctx, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (spec *assignmentSpec) wire(ctx context.Context, s *session) (client.Assignment, error) {
	c, err := s.capability(ctx, spec.Capability)
	if err != nil {
		return client.Assignment{}, err
	}
	limit, err := parseLimit(spec.Limit.text, c.Decimals)
	if err != nil {
		line := ""
		if spec.Limit.line > 0 {
			line = fmt.Sprintf("line %d: ", spec.Limit.line)
		}
		return client.Assignment{}, usageError{fmt.Errorf("assignment of %s to %s: limit: %s%w", spec.Capability, spec.Entity, line, err)}
	}
	return client.Assignment{
		Entity: spec.Entity, Capability: spec.Capability, Limit: limit, Cadence: client.Cadence(spec.Cadence),
		Enforcement: spec.Enforcement, Mode: spec.Mode, Scope: spec.Scope, AlertThresholds: spec.AlertThresholds, Backfill: spec.Backfill,
	}, nil
}

func (t entityTypeSpec) wire() client.EntityType {
	return client.EntityType{ID: t.ID, Name: t.Name, Parents: t.Parents}
}

func (c capabilitySpec) wire() client.Capability {
	return client.Capability{ID: c.ID, Unit: c.Unit, Decimals: c.Decimals}
}

func (e entitySpec) wire() client.Entity {
	return client.Entity{ID: e.ID, Type: e.Type, Parent: nonEmpty(e.Parent), Name: e.Name, Metadata: e.Metadata}
}
