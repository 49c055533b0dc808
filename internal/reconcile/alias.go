package reconcile

import (
	"fmt"
	"strings"
)

// Alias gives models whose name matches Pattern one name.
type Alias struct {
	Pattern string // * stands for any text, the empty one included
	Name    string
}

// ParseAlias reads "gpt-4o-2024*=gpt-4o".
func ParseAlias(s string) (Alias, error) {
	pattern, name, ok := strings.Cut(s, "=")
	if !ok || pattern == "" || name == "" {
		return Alias{}, fmt.Errorf("%q is no alias: write PATTERN=NAME, as gpt-4o-2024*=gpt-4o", s)
	}
	return Alias{pattern, name}, nil
}

// Names turns the names of models, as either side writes them, into those that are compared.
type Names struct {
	Aliases []Alias  // the first that matches counts
	Only    []string // patterns of the names to compare; none: all
}

// Of returns the name to compare a model by, and whether it is to be compared.
func (n *Names) Of(model string) (name string, wanted bool) {
	for _, a := range n.Aliases {
		if matches(a.Pattern, model) {
			model = a.Name
			break
		}
	}
	for _, only := range n.Only {
		if matches(only, model) {
			return model, true
		}
	}
	return model, len(n.Only) == 0
}

// matches reports whether * in the pattern can stand for texts that make it s.
func matches(pattern, s string) bool {
	first, rest, glob := strings.Cut(pattern, "*")
	if !glob {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(s, rest)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
