package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/bursar-dev/bursar/client"
)

// Shape is the size of the generated tree: one org, Projects below it, Teams
// below each of them, Users below each team, and one agent below every tenth user.
type Shape struct {
	Projects int
	Teams    int
	Users    int
}

// Limits of a Shape.
const (
	maxProjects = 100
	maxTeams    = 100
	maxUsers    = 1_000
	maxLeaves   = 100_000
	agentEvery  = 10
)

// Validate names the flag that is out of range.
func (s Shape) Validate() error {
	for _, f := range []struct {
		name    string
		v, most int
	}{{"--projects", s.Projects, maxProjects}, {"--teams", s.Teams, maxTeams}, {"--users", s.Users, maxUsers}} {
		if f.v < 1 || f.v > f.most {
			return fmt.Errorf("%s %d: want 1 to %d", f.name, f.v, f.most)
		}
	}
	if n := s.Projects * s.Teams * s.Users; n > maxLeaves {
		return fmt.Errorf("--projects × --teams × --users is %d: want at most %d", n, maxLeaves)
	}
	return nil
}

// tree is a generated account: its entities, parents first, and who makes calls.
type tree struct {
	account  string
	types    []client.EntityType
	entities []client.Entity
	parent   map[string]string // of every entity but the root
	leaves   []string          // users and agents
}

// newTree lays out the tree. The same account and shape give the same tree.
func newTree(account string, s Shape) *tree {
	t := &tree{account: account, parent: map[string]string{}}
	for _, id := range []string{"org", "project", "team", "user", "agent"} {
		t.types = append(t.types, client.EntityType{ID: id, Name: id})
	}
	t.add("org", "org", account)
	for p := range s.Projects {
		project := fmt.Sprintf("project-%d", p)
		t.add(project, "project", "org")
		for m := range s.Teams {
			team := fmt.Sprintf("team-%d-%d", p, m)
			t.add(team, "team", project)
			for u := range s.Users {
				t.addLeaf(fmt.Sprintf("user-%d-%d-%d", p, m, u), "user", team)
			}
		}
	}
	return t
}

func (t *tree) addLeaf(id, typ, parent string) {
	t.add(id, typ, parent)
	t.leaves = append(t.leaves, id)
	if len(t.leaves)%agentEvery == 0 {
		agent := "agent-of-" + id
		t.add(agent, "agent", id)
		t.leaves = append(t.leaves, agent)
	}
}

func (t *tree) add(id, typ, parent string) {
	t.entities = append(t.entities, client.Entity{ID: id, Type: typ, Parent: &parent})
	t.parent[id] = parent
}

// chain returns id and its ancestors up to the root.
func (t *tree) chain(id string) []string {
	chain := []string{id}
	for p, ok := t.parent[id]; ok; p, ok = t.parent[p] {
		chain = append(chain, p)
	}
	return chain
}

// callers picks who makes each of n calls. Some are far busier than others, as
// in any company: shares fall off as a Zipf distribution. A seed fixes the choice.
func (t *tree) callers(n int, seed uint64) []string {
	const skew, flat = 1.2, 4
	rng := rand.New(rand.NewPCG(seed, 0))
	zipf := rand.NewZipf(rng, skew, flat, uint64(len(t.leaves)-1))
	order := rng.Perm(len(t.leaves))
	who := make([]string, n)
	for i := range who {
		who[i] = t.leaves[order[zipf.Uint64()]]
	}
	return who
}

// budgets gives every level a limit of share times what the trace will use
// there: hard on the org, the projects and the users, soft on the teams. A share
// of 2 lets every call in; below 1 the trace cannot all be let in.
// reserve is what one call holds on top of its input tokens.
func (t *tree) budgets(calls []TraceCall, who []string, share float64, reserve int64) []client.Assignment {
	need := map[string]sums{}
	for i, c := range calls {
		for _, id := range t.chain(who[i]) {
			s := need[id]
			s.add(1, c.Input, max(c.Output, reserve))
			need[id] = s
		}
	}
	var out []client.Assignment
	for _, e := range t.entities {
		limit := int64(float64(need[e.ID].tokens()) * share) // a limit chosen once; nothing is summed in floats
		a := client.Assignment{Entity: e.ID, Capability: "tokens", Limit: &limit, Enforcement: "hard", Cadence: client.Cadence{Every: "never"}}
		switch e.Type {
		case "team":
			a.Enforcement = "soft"
		case "agent":
			continue // charged through its user
		}
		out = append(out, a)
		if e.Type == "org" || e.Type == "user" {
			metered := a
			metered.Capability, metered.Limit = "requests", nil
			out = append(out, metered)
		}
	}
	return out
}

// sums are what calls used.
type sums struct {
	Requests int64 `json:"requests"`
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
}

func (s *sums) add(requests, input, output int64) {
	s.Requests += requests
	s.Input += input
	s.Output += output
}

func (s sums) tokens() int64 { return s.Input + s.Output }
