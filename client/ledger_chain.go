package client

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ChainHash computes the Hash that the line has if the line before it in its account's
// ledger has the hash prev; empty: it is the first of the chain. It covers every field but Hash, Node and the
// Assignment of Charges. Compare it with Hash: if they differ, the line, or the order of the lines, is not
// what the server wrote. docs/ledger.md has the form, for other languages. The error is that
// a hash is not 64 hex digits.
func (l *LedgerLine) ChainHash(prev string) (string, error) {
	before := make([]byte, sha256.Size)
	if prev != "" {
		var err error
		if before, err = decodeHash(prev); err != nil {
			return "", fmt.Errorf("the hash before: %w", err)
		}
	}
	body, err := decodeHash(l.BodyHash)
	if err != nil {
		return "", fmt.Errorf("body_hash: %w", err)
	}
	c := content(before)
	c.number(1)
	c.text(l.Account)
	c.number(int64(l.Seq))
	c.text(l.Kind)
	c.text(l.EventID)
	c = append(c, body...)
	c.texts(l.Entities)
	c.texts(l.Chain)
	c.optional(l.Key)
	c.optional(l.Member)
	c.optional(l.Model)
	c.text(l.ServiceTier)
	if l.PriceVersion != nil {
		c.number(*l.PriceVersion)
	} else {
		c.number(0)
	}
	c.optional(l.PriceModel)
	c.number(int64(len(l.PriceTerms)))
	for _, t := range l.PriceTerms {
		c.text(t.Usage)
		c.text(t.Field)
		c.number(t.Quantity)
		c.number(int64(t.Decimals))
		c.text(t.Price)
	}
	c.flag(l.Unpriced)
	c.number(int64(len(l.Usage)))
	for _, capability := range slices.Sorted(maps.Keys(l.Usage)) {
		c.text(capability)
		c.number(l.Usage[capability])
	}
	c.time(l.At)
	c.time(l.ReceivedAt)
	c.time(l.SettledAt)
	c.number(int64(l.NodeNumber))
	c.number(int64(l.Index))
	c.optional(l.Reservation)
	c.flag(l.Overage)
	c.flag(l.Late)
	c.flag(l.Unattributed)
	c.number(int64(len(l.Metadata)))
	for _, name := range slices.Sorted(maps.Keys(l.Metadata)) {
		c.text(name)
		c.text(l.Metadata[name])
	}
	c.number(int64(len(l.Charges)))
	for _, charge := range l.Charges {
		c.number(int64(charge.AssignmentNumber))
		c.time(charge.PeriodStart)
		c.number(charge.Amount)
		c.number(charge.Drawn)
		c.number(int64(charge.DrawnOn))
	}
	if l.Corrects != nil {
		c.number(int64(*l.Corrects))
	} else {
		c.number(0)
	}
	c.optional(l.Correction)
	c.text(l.Reason)
	sum := sha256.Sum256(c)
	return hex.EncodeToString(sum[:]), nil
}

func decodeHash(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err == nil && len(b) != sha256.Size {
		err = fmt.Errorf("has %d bytes instead of %d", len(b), sha256.Size)
	}
	return b, err
}

// content is what a hash covers, being written.
type content []byte

func (c *content) number(n int64) { *c = binary.BigEndian.AppendUint64(*c, uint64(n)) }

func (c *content) time(t time.Time) { c.number(t.UnixMilli()) }

func (c *content) text(s string) {
	c.number(int64(len(s)))
	*c = append(*c, s...)
}

func (c *content) optional(s *string) {
	if s == nil {
		c.text("")
		return
	}
	c.text(*s)
}

func (c *content) texts(list []string) {
	c.number(int64(len(list)))
	for _, s := range list {
		c.text(s)
	}
}

func (c *content) flag(f bool) {
	if f {
		c.number(1)
		return
	}
	c.number(0)
}
