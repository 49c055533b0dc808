package admin

import (
	"errors"
	"testing"

	"github.com/bursar-dev/bursar/fsm"
)

// FuzzCursors reads whatever a caller may send as "after": a page, or a 400 that names it.
func FuzzCursors(f *testing.F) {
	in := getTreeInput{SortBy: "used", Order: "asc"}
	q, err := in.parse()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q.cursor(treePosition{Used: 5, Entity: "e", Assignment: "a"}))
	f.Add(seqCursor(17))
	f.Add("e30")
	m := openMachine(f)
	f.Fuzz(func(t *testing.T, after string) {
		tree := in
		tree.After = after
		_, treeErr := tree.parse()
		_, seqErr := seqAfter(after)
		_, _, usageErr := m.Usage("acme", fsm.UsageQuery{Bucket: fsm.BucketDay, To: 1, After: after})
		_, _, listErr := m.ListEntities("acme", after, 1)
		for what, err := range map[string]error{"tree": treeErr, "sequence": seqErr, "usage": usageErr, "list": listErr} {
			if err == nil {
				continue
			}
			var rejected *fsm.Error
			if p := problemOf(err); p.Status != 400 || errors.As(err, &rejected) && rejected.Code != fsm.CodeInvalid {
				t.Errorf("%s: %q: %v", what, after, err)
			}
		}
	})
}
