package fsm

import (
	"encoding/hex"
	"slices"

	"github.com/bursar-dev/bursar/fsm/price"
)

// pricesDocument is a version of the price book in the audit trail: which it is
// and what it changed, without the map.
type pricesDocument struct {
	Version     uint64         `json:"version"`
	EffectiveAt *string        `json:"effective_at"` // null: from the beginning of time
	Digest      string         `json:"digest"`
	Models      int            `json:"models"`
	Changes     *pricesChanges `json:"changes,omitempty"` // against the version that was effective at that time
}

// pricesChanges counts the models that a version treats differently and names some of each.
type pricesChanges struct {
	Added   changedModels `json:"added"`
	Changed changedModels `json:"changed"`
	Removed changedModels `json:"removed"`
}

type changedModels struct {
	Count int      `json:"count"`
	First []string `json:"first"` // by name, at most maxChangedNames of them
}

// maxChangedNames bounds the names in an audit entry.
const maxChangedNames = 20

func (c *changedModels) add(name string) {
	if c.Count++; len(c.First) < maxChangedNames {
		c.First = append(c.First, name)
	}
}

func (v *PriceVersion) document() *pricesDocument {
	d := &pricesDocument{Version: v.Version, Digest: hex.EncodeToString(v.Digest[:]), Models: v.Models}
	if v.EffectiveAt != 0 {
		at := timestamp(v.EffectiveAt)
		d.EffectiveAt = &at
	}
	return d
}

// compare fills what differs between two maps, both ascending by name.
func (d *pricesDocument) compare(old, new []price.Entry) {
	c := &pricesChanges{}
	c.Added.First, c.Changed.First, c.Removed.First = []string{}, []string{}, []string{}
	for len(old) > 0 || len(new) > 0 {
		switch {
		case len(new) == 0 || len(old) > 0 && old[0].Name < new[0].Name:
			c.Removed.add(old[0].Name)
			old = old[1:]
		case len(old) == 0 || new[0].Name < old[0].Name:
			c.Added.add(new[0].Name)
			new = new[1:]
		default:
			if !sameEntry(&old[0], &new[0]) {
				c.Changed.add(new[0].Name)
			}
			old, new = old[1:], new[1:]
		}
	}
	d.Changes = c
}

func sameEntry(a, b *price.Entry) bool {
	return a.Provider == b.Provider && slices.Equal(a.Aliases, b.Aliases) && slices.Equal(a.Prices, b.Prices)
}
