package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFile is the --config flag: the path of a YAML file whose keys are flag
// names. A key at the top level holds for every command that has the flag; keys
// below a command's name hold for it alone:
//
//	log-level: info
//	serve:
//	  node-id: node-1
//	  join: [10.0.0.1:7095, 10.0.0.2:7095]
//
// The command line wins over the environment, the environment over the file. A
// key that no command has is an error: a misspelt limit must not pass for none.
type configFile string

// BeforeResolve implements kong's hook: it reads the file once the flag is known.
func (configFile) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFile))
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	keys := map[string]any{}
	if err := yaml.NewDecoder(f).Decode(&keys); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("--config %s: %w", path, err)
	}
	if unknown := unknownKeys(k.Model.Node, keys, ""); len(unknown) > 0 {
		return fmt.Errorf("--config %s: no flag is called %s", path, strings.Join(unknown, ", "))
	}
	ctx.AddResolver(&fileResolver{keys: keys})
	return nil
}

// fileResolver gives flags their values from the keys of a file.
type fileResolver struct{ keys map[string]any }

// Validate implements kong.Resolver; the keys are validated when they are read.
func (*fileResolver) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (r *fileResolver) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	value := r.keys[flag.Name]
	keys := r.keys
	for _, command := range commandPath(parent.Node()) {
		below, ok := keys[command].(map[string]any)
		if !ok {
			break
		}
		keys = below
		if v, ok := keys[flag.Name]; ok {
			value = v
		}
	}
	return value, nil
}

// commandPath returns the names of the commands that lead to n.
func commandPath(n *kong.Node) []string {
	if n == nil || n.Type == kong.ApplicationNode {
		return nil
	}
	return append(commandPath(n.Parent), n.Name)
}

// unknownKeys lists the keys that name neither a flag of n or of a command
// below it, nor a command directly below it.
func unknownKeys(n *kong.Node, keys map[string]any, prefix string) []string {
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if below, ok := keys[key].(map[string]any); ok {
			if child := childCommand(n, key); child != nil {
				unknown = append(unknown, unknownKeys(child, below, prefix+key+".")...)
				continue
			}
		}
		if !hasFlag(n, key) {
			unknown = append(unknown, prefix+key)
		}
	}
	return unknown
}

func childCommand(n *kong.Node, name string) *kong.Node {
	for _, child := range n.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func hasFlag(n *kong.Node, name string) bool {
	for _, flag := range n.Flags {
		if flag.Name == name {
			return true
		}
	}
	return slices.ContainsFunc(n.Children, func(child *kong.Node) bool { return hasFlag(child, name) })
}
