package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/big"
	"os"
	"slices"

	"github.com/bursar-dev/bursar/client"
)

// maxExportLine bounds a line of an export, in bytes: an event has at most 64 KiB.
const maxExportLine = 4 << 20

// exportVerification is what a file of lines says.
type exportVerification struct {
	File       string               `json:"file"`
	Account    string               `json:"account"`
	Valid      bool                 `json:"valid"`
	Lines      uint64               `json:"lines"`
	FirstSeq   uint64               `json:"first_seq"`
	LastSeq    uint64               `json:"last_seq"`
	Head       string               `json:"head"`      // hash of the last line
	Unchained  uint64               `json:"unchained"` // lines without a hash
	Events     uint64               `json:"events"`    // those of usage, less those that are void
	Totals     map[string]*big.Int  `json:"totals"`    // by capability, in its smallest unit
	Faults     []client.LedgerFault `json:"faults"`    // the first 100
	FaultCount uint64               `json:"fault_count"`
}

// exportCheck reads a file of ledger lines, in either order, once.
type exportCheck struct {
	exportVerification
	before *client.LedgerLine // in the file
	row    uint64             // of the file
	down   bool               // newest first
	seed   maphash.Seed
	ids    map[uint64]struct{} // of usage lines, hashed
	nodes  map[int]string
	void   uint64
	last   client.LedgerLine // the line with the largest number
}

const maxExportFaults = 100

func (c *exportCheck) fault(kind string, seq uint64, event, where, expected, found string) {
	c.FaultCount++
	if len(c.Faults) < maxExportFaults {
		c.Faults = append(c.Faults, client.LedgerFault{Kind: kind, Seq: seq, EventID: event, Where: where, Expected: expected, Found: found})
	}
}

// checkExport reads an export to its end. step is called after each line with the bytes read.
func checkExport(ctx context.Context, name string, r io.Reader, step func(bytes int)) (*exportVerification, error) {
	c := &exportCheck{
		exportVerification: exportVerification{File: name, Totals: map[string]*big.Int{}, Faults: []client.LedgerFault{}},
		seed:               maphash.MakeSeed(), ids: map[uint64]struct{}{}, nodes: map[int]string{},
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxExportLine)
	for lines.Scan() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.row++
		step(len(lines.Bytes()) + 1)
		c.read(lines.Bytes())
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		c.fault("unreadable", 0, "", fmt.Sprintf("row %d of the file", c.row+1), fmt.Sprintf("a line of at most %d bytes", maxExportLine), "a longer one")
	} else if err != nil {
		return nil, err
	}
	if c.before != nil && (c.down || c.Lines == 1) {
		c.link(c.before, nil) // the oldest line
	}
	if c.last.Hash != nil {
		c.Head = *c.last.Hash
	}
	c.Events -= c.void
	c.Valid = c.FaultCount == 0
	return &c.exportVerification, nil
}

// read takes one line of the file.
func (c *exportCheck) read(data []byte) {
	l := new(client.LedgerLine)
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(l); err != nil || l.Seq == 0 {
		c.fault("unreadable", l.Seq, l.EventID, fmt.Sprintf("row %d of the file", c.row), "a ledger line", fmt.Sprintf("%.80q: %v", data, err))
		c.before = nil
		return
	}
	if c.Lines == 0 {
		c.Account, c.FirstSeq, c.last = l.Account, l.Seq, *l
	}
	c.Lines++
	c.FirstSeq = min(c.FirstSeq, l.Seq)
	if l.Seq > c.LastSeq {
		c.LastSeq, c.last = l.Seq, *l
	}
	if l.Account != c.Account {
		c.fault("foreign_account", l.Seq, l.EventID, fmt.Sprintf("row %d of the file", c.row), c.Account, l.Account)
	}
	c.order(l)
	c.content(l)
	c.before = l
}

// order checks a line's number and its link with the line before it in the file.
func (c *exportCheck) order(l *client.LedgerLine) {
	b := c.before
	if b == nil {
		return // the first line, or the one before it cannot be read: its hash cannot be checked yet, or not at all
	}
	if c.Lines == 2 {
		c.down = l.Seq < b.Seq
		if !c.down {
			c.link(b, nil)
		}
	}
	low, high := b, l
	if c.down {
		low, high = l, b
	}
	switch {
	case low.Seq == high.Seq:
		c.fault("double_line", l.Seq, l.EventID, fmt.Sprintf("row %d of the file", c.row), "each number once", fmt.Sprintf("line %d twice", l.Seq))
	case low.Seq > high.Seq:
		c.fault("line_order", l.Seq, l.EventID, fmt.Sprintf("row %d of the file", c.row), "lines in order", fmt.Sprintf("line %d after line %d", l.Seq, b.Seq))
	case low.Seq+1 < high.Seq:
		where := fmt.Sprintf("line %d", low.Seq+1)
		if low.Seq+2 < high.Seq {
			where = fmt.Sprintf("lines %d to %d", low.Seq+1, high.Seq-1)
		}
		c.fault("missing_line", low.Seq+1, "", where, "a line for each number", fmt.Sprintf("line %d follows line %d", high.Seq, low.Seq))
	default:
		c.link(high, low)
	}
}

// link checks the hash of a line after the one before it, nil if that is not in the file.
func (c *exportCheck) link(l, before *client.LedgerLine) {
	prev := ""
	switch {
	case l.Hash == nil && (before == nil || before.Hash == nil):
		return // older than the chain
	case l.Hash == nil:
		c.fault("line_hash", l.Seq, l.EventID, fmt.Sprintf("line %d", l.Seq), "a hash, as the line before has one", "none")
		return
	case before != nil && before.Hash != nil:
		prev = *before.Hash
	case before == nil && l.Seq != 1:
		return // the line before it is not in the file
	}
	want, err := l.ChainHash(prev)
	if err != nil {
		want = err.Error()
	}
	if want != *l.Hash {
		c.fault("line_hash", l.Seq, l.EventID, fmt.Sprintf("line %d, or line %d before it, was changed", l.Seq, l.Seq-1), want, *l.Hash)
	}
}

// content checks what a line says by itself, and adds it up.
func (c *exportCheck) content(l *client.LedgerLine) {
	if l.Hash == nil {
		c.Unchained++
	}
	if name, known := c.nodes[l.NodeNumber]; known && name != l.Node {
		c.fault("line_hash", l.Seq, l.EventID, fmt.Sprintf("the name of node %d", l.NodeNumber), name, l.Node)
	} else if !known {
		c.nodes[l.NodeNumber] = l.Node
	}
	switch l.Kind {
	case "usage":
		c.Events++
		id := maphash.String(c.seed, l.EventID)
		if _, twice := c.ids[id]; twice {
			c.fault("double_event", l.Seq, l.EventID, fmt.Sprintf("line %d", l.Seq), "one line of each event", "another line has the event")
		}
		c.ids[id] = struct{}{}
	case "void":
		c.void++
	}
	for capability, amount := range l.Usage {
		if c.Totals[capability] == nil {
			c.Totals[capability] = new(big.Int)
		}
		c.Totals[capability].Add(c.Totals[capability], big.NewInt(amount))
	}
}

// verifyExport verifies a file of lines.
func (c *ledgerVerifyCmd) verifyExport(ctx context.Context, v *verification) error {
	f, err := os.Open(c.Export)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	done := uint64(0)
	found, err := checkExport(ctx, c.Export, f, func(bytes int) {
		done += uint64(bytes)
		v.progress(c.Export, done, uint64(info.Size()))
	})
	if err != nil {
		return err
	}
	if c.Account != "" && found.Lines > 0 && found.Account != c.Account {
		return usageError{fmt.Errorf("%s has the ledger of %s and not of %s", c.Export, visible(found.Account), visible(c.Account))}
	}
	v.shown.done()
	if err := v.printExport(found); err != nil {
		return err
	}
	if !found.Valid {
		return fmt.Errorf("%s is not sound: %d faults", c.Export, found.FaultCount)
	}
	return nil
}

func (v *verification) printExport(found *exportVerification) error {
	if v.format == outputJSON {
		return writeJSON(v.out, found)
	}
	verdict := "sound"
	if !found.Valid {
		if err := writeTable(v.out, faultColumns, found.Faults); err != nil {
			return err
		}
		verdict = fmt.Sprintf("NOT sound: %d faults", found.FaultCount)
	}
	_, err := fmt.Fprintf(v.out, "%s: %s: lines %d to %d of account %s, %d of them, %d without a hash; %d events\n",
		found.File, verdict, found.FirstSeq, found.LastSeq, visible(found.Account), found.Lines, found.Unchained, found.Events)
	for _, capability := range slices.Sorted(maps.Keys(found.Totals)) {
		if err == nil {
			_, err = fmt.Fprintf(v.out, "  %s %s\n", visible(capability), found.Totals[capability])
		}
	}
	if err == nil && found.Head != "" {
		_, err = fmt.Fprintf(v.out, "  hash of line %d: %s\n", found.LastSeq, found.Head)
	}
	return err
}
