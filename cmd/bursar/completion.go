package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd prints a small script for a shell. The script asks the binary
// itself (completeCmd) what may come next, so it never falls behind the commands.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"${enum}."`
}

// Help is shown below the flags' summary.
func (*completionCmd) Help() string {
	return `bash: source <(bursar completion bash)
zsh:  source <(bursar completion zsh)
fish: bursar completion fish | source
`
}

func (c *completionCmd) Run(k *kong.Context) error {
	_, err := fmt.Fprint(k.Stdout, completionScripts[c.Shell])
	return err
}

// completionScripts hand the words up to the cursor to completeCmd. Where it
// offers nothing, the shell's own completion of file names stands in.
var completionScripts = map[string]string{
	"bash": `_bursar() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _bursar bursar
`,
	"zsh": `#compdef bursar
_bursar() {
  local -a lines
  lines=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  lines=("${(@)lines//:/\\:}")
  lines=("${(@)lines//$'\t'/:}")
  if [[ -n "${lines[1]}" ]]; then
    _describe bursar lines
  else
    _files
  fi
}
compdef _bursar bursar
`,
	"fish": `function __bursar_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..] 2>/dev/null
end
complete -c bursar -f -a '(__bursar_complete)'
complete -c bursar -s f -l file -r -F
complete -c bursar -l token-file -r -F
complete -c bursar -l config -r -F
`,
}

// completeCmd prints what may stand for the last of its words, one candidate a
// line, with a tab and a description.
type completeCmd struct {
	Words []string `arg:"" optional:""`
}

func (c *completeCmd) Run(k *kong.Context) error {
	for _, candidate := range complete(k.Model.Node, c.Words) {
		fmt.Fprintf(k.Stdout, "%s\t%s\n", candidate.word, candidate.help)
	}
	return nil
}

type candidate struct{ word, help string }

// complete returns what may stand for the last of words, given those before it.
func complete(root *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, current := words[:len(words)-1], words[len(words)-1]
	node, args, open := walk(root, before)
	var all []candidate
	switch {
	case open != nil:
		all = values(open, "")
	case strings.HasPrefix(current, "-"):
		if name, _, ok := strings.Cut(current, "="); ok {
			if f := findFlag(node, name); f != nil {
				all = values(f, name+"=")
			}
			break
		}
		all = flags(node)
	default:
		all = commands(node)
		if args < len(node.Positional) {
			all = append(all, enumOf(node.Positional[args], "")...)
		}
	}
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, current) })
}

// walk follows words down from root. open is a flag that still wants its value;
// args is how many positional arguments the node has been given.
func walk(root *kong.Node, words []string) (node *kong.Node, args int, open *kong.Flag) {
	node = root
	for _, word := range words {
		switch {
		case open != nil:
			open = nil
		case strings.HasPrefix(word, "-"):
			if f := findFlag(node, word); f != nil && !f.IsBool() && !strings.Contains(word, "=") {
				open = f
			}
		default:
			i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
			if i < 0 {
				args++
				continue
			}
			node, args = node.Children[i], 0
		}
	}
	return node, args, open
}

// findFlag returns the flag of node or of a command above it that word names.
func findFlag(node *kong.Node, word string) *kong.Flag {
	for ; node != nil; node = node.Parent {
		for _, f := range node.Flags {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func flags(node *kong.Node) []candidate {
	var all []candidate
	for ; node != nil; node = node.Parent {
		for _, f := range node.Flags {
			if !f.Hidden {
				all = append(all, candidate{"--" + f.Name, firstSentence(f.Help)})
			}
		}
	}
	return all
}

func commands(node *kong.Node) []candidate {
	var all []candidate
	for _, n := range node.Children {
		if !n.Hidden {
			all = append(all, candidate{n.Name, firstSentence(n.Help)})
		}
	}
	return all
}

func values(f *kong.Flag, prefix string) []candidate { return enumOf(f.Value, prefix) }

func enumOf(v *kong.Value, prefix string) []candidate {
	var all []candidate
	for _, e := range v.EnumSlice() {
		if e != "" {
			all = append(all, candidate{word: prefix + e})
		}
	}
	return all
}

// firstSentence keeps a description on one short line.
func firstSentence(help string) string {
	s, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ".")
}
