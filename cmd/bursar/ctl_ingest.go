package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

const (
	maxEventLine   = 1 << 20          // bytes of one line of --file
	ingestCloseMax = 10 * time.Minute // how long a file's last events may take
)

// ingestCmd records one event from its flags, or many from a file.
type ingestCmd struct {
	callFlags
	File        string            `short:"f" help:"Events to record, one JSON object a line; - reads standard input. Events need ids, so that repeating the file counts nothing twice." placeholder:"FILE"`
	ID          string            `name:"id" help:"Id of the event; made up if left out."`
	At          moment            `help:"When it happened; now if left out." placeholder:"TIME"`
	Reservation string            `help:"Reservation that it settles." placeholder:"ID"`
	Metadata    map[string]string `help:"Notes of your own." placeholder:"KEY=VALUE"`
	dataFlags
}

func (c *ingestCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.File != "" && (c.Account != "" || len(c.Usage) > 0 || c.ID != "") {
		return usageError{errors.New("--file has whole events: give it without account, --usage and --id")}
	}
	return c.with(k, func(s *session, cl *client.Client) error {
		if c.File != "" {
			return c.file(ctx, s, cl, k.Stderr)
		}
		return c.one(ctx, s, cl)
	})
}

func (c *ingestCmd) one(ctx context.Context, s *session, cl *client.Client) error {
	usage, err := c.usage(ctx, s)
	if err != nil {
		return err
	}
	if usage == nil {
		usage = client.Usage{"requests": 1}
	}
	resp, err := cl.Ingest(ctx, []client.Event{{
		ID: c.ID, Account: c.Account, Entities: c.Entities, Key: c.Key, Usage: usage, Model: c.Model, Member: c.Member,
		At: c.At.Time, Reservation: c.Reservation, Metadata: c.Metadata,
	}})
	if err != nil {
		return err
	}
	return c.report(s, ingestSummary{Accepted: uint64(resp.Accepted), Duplicates: uint64(resp.Duplicates), Rejected: resp.Rejected})
}

func (c *ingestCmd) report(s *session, sum ingestSummary) error {
	if sum.Rejected == nil {
		sum.Rejected = []client.Rejection{}
	}
	if err := sum.write(s.out, s.format); err != nil {
		return err
	}
	if n := len(sum.Rejected); n > 0 {
		return fmt.Errorf("%d events were rejected", n)
	}
	return nil
}

// file records the events of a file through a Recorder. What does not get through at once is told to progress.
func (c *ingestCmd) file(ctx context.Context, s *session, cl *client.Client, progress io.Writer) error {
	in, err := openInput(c.File)
	if err != nil {
		return err
	}
	defer in.Close()
	var mu sync.Mutex
	var sum ingestSummary
	var told sync.Once
	rec := cl.NewRecorder(client.RecorderOptions{
		OnRejected: func(_ client.Event, r client.Rejection) {
			mu.Lock()
			defer mu.Unlock()
			sum.Rejected = append(sum.Rejected, r)
		},
		OnFailure: func(err error, _ int) {
			told.Do(func() { fmt.Fprintf(progress, "still trying: %v\n", err) })
		},
	})
	readErr := recordLines(ctx, rec, in)
	closing, cancel := context.WithTimeout(ctx, ingestCloseMax)
	defer cancel()
	closeErr := rec.Close(closing)
	stats := rec.Stats()
	sum.Accepted, sum.Duplicates = stats.Accepted, stats.Duplicates
	return errors.Join(c.report(s, sum), readErr, closeErr)
}

// recordLines hands each line to rec. An event without an id is refused: the
// file could not be repeated without counting it twice.
func recordLines(ctx context.Context, rec *client.Recorder, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxEventLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e client.Event
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if d.More() {
			return fmt.Errorf("line %d: more than one event", n)
		}
		if e.ID == "" {
			return fmt.Errorf("line %d: the event has no id", n)
		}
		if err := rec.Record(ctx, e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}
