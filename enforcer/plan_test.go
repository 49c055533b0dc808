package enforcer

import (
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// What is changed above an entity holds for its next call, though a call has been through before.
func TestAChangeAboveHoldsForTheNextCall(t *testing.T) {
	n := newSoloNode(t)
	n.commit(fsm.PutEntities{Account: "acme", Items: []fsm.Entity{{ID: "small", Type: "team"}}})
	n.assign("small", fsm.CapTokens, 5, fsm.EveryMonth, fsm.Hard)
	for _, step := range []struct {
		name   string
		change fsm.Body
		code   Code
	}{
		{"at first", nil, CodeOK},
		{"the team is archived", fsm.ArchiveEntity{Account: "acme", ID: "team", Archived: true}, CodeEntityArchived},
		{"and is not any more", fsm.ArchiveEntity{Account: "acme", ID: "team"}, CodeOK},
		{"alice moves to a small team", fsm.MoveEntity{Account: "acme", ID: "alice", Parent: "small"}, CodeExceedsLimit},
		{"and back", fsm.MoveEntity{Account: "acme", ID: "alice", Parent: "team"}, CodeOK},
		{"her team moves to the small one", fsm.MoveEntity{Account: "acme", ID: "team", Parent: "small"}, CodeExceedsLimit},
		{"and back", fsm.MoveEntity{Account: "acme", ID: "team", Parent: "acme"}, CodeOK},
		{"the account is frozen", fsm.FreezeAccount{ID: "acme", Frozen: true}, CodeAccountFrozen},
		{"and is not any more", fsm.FreezeAccount{ID: "acme"}, CodeOK},
	} {
		if step.change != nil {
			n.commit(step.change)
		}
		for range 2 {
			var d Decision
			c := callFor([]string{"alice"}, 0, toks(10))
			c.Account = []byte("acme")
			if err := n.e.Check(t.Context(), c, &d); err != nil || d.Code != step.code {
				t.Errorf("%s: %s, %v, want %s", step.name, d.Code, err, step.code)
			}
		}
	}
	n.assign("acme", fsm.CapTokens, 3, fsm.EveryMonth, fsm.Hard)
	var d Decision
	c := callFor([]string{"alice"}, 0, toks(10))
	c.Account = []byte("acme")
	if err := n.e.Check(t.Context(), c, &d); err != nil || d.Code != CodeExceedsLimit {
		t.Errorf("the account gets a budget of 3: %s, %v", d.Code, err)
	}
}

// A level that has changed is compiled anew for everybody below it, whoever kept what it was.
func TestNoCallKeepsALevelThatHasChanged(t *testing.T) {
	l := &level{}
	first := l.set(&compiled{id: "team"})
	if again := l.set(&compiled{id: "team"}); again != first {
		t.Error("the second who compiles a level replaces what the first has made: it could not be told from what is in use")
	}
	l.forget()
	if !first.stale.Load() || l.now.Load() != nil {
		t.Error("a level is forgotten and who keeps it cannot tell")
	}
	l.forget()
	if second := l.set(&compiled{id: "team"}); second == first || second.stale.Load() {
		t.Error("a level that was forgotten is not compiled anew")
	}
}
