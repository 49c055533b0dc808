package admin

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// The content types of the ledger.
const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeCSV    = "text/csv"
)

// streamPage is how many lines a stream holds in memory at once.
const streamPage = 500

// lineWriter writes ledger lines in one format.
type lineWriter interface {
	write(*client.LedgerLine) error
	flush() error
}

// streamLedger answers with every line that matches, page by page. A stream
// that breaks in the middle is cut off, so that its reader does not take the
// part for the whole.
func (a *api) streamLedger(account string, filter fsm.LedgerFilter, after uint64, names lineNames, contentType string, index uint64) (*huma.StreamResponse, error) {
	select {
	case a.streams <- struct{}{}:
	default:
		return nil, newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is sending %d ledgers already", maxStreams)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { <-a.streams }()
		r, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set(headerIndex, strconv.FormatUint(index, 10))
		var out lineWriter = &ndjsonWriter{json.NewEncoder(w)}
		if contentType == typeCSV {
			out = newCSVWriter(w)
		}
		rc := http.NewResponseController(w)
		for first := true; first || after != 0; first = false {
			rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // unsupported only by recorders in tests
			lines, next, err := a.machine.ListLedger(account, filter, after, streamPage)
			names.nameCharged(a.machine, lines)
			for i := range lines {
				if err == nil {
					line := wireLine(&lines[i], &names)
					err = out.write(&line)
				}
			}
			if err == nil {
				err = out.flush()
			}
			if err == nil {
				err = r.Context().Err()
			}
			if err != nil {
				a.log.Info("ledger stream cut off", "request", w.Header().Get(headerRequestID), "err", err)
				panic(http.ErrAbortHandler)
			}
			after = next
		}
	}}, nil
}

type ndjsonWriter struct{ enc *json.Encoder }

func (w *ndjsonWriter) write(l *client.LedgerLine) error { return w.enc.Encode(l) }
func (w *ndjsonWriter) flush() error                     { return nil }

// csvUsage are the capabilities that have a column of their own; the column usage has them all, as JSON.
var csvUsage = []string{fsm.CapRequests, fsm.CapInputTokens, fsm.CapOutputTokens, fsm.CapCachedTokens, fsm.CapTokens, fsm.CapUSD}

// csvWriter writes a header and a row a line. Lists are joined by spaces (ids have none), maps are JSON.
type csvWriter struct {
	csv *csv.Writer
	row []string
}

func newCSVWriter(w io.Writer) *csvWriter {
	c := &csvWriter{csv: csv.NewWriter(w)}
	c.row = append(c.row, "seq", "event_id", "kind", "account", "entities", "chain", "key", "member", "model")
	c.row = append(c.row, csvUsage...)
	c.row = append(c.row, "usage", "price_version", "price_model", "price_terms", "service_tier", "unpriced", "at", "received_at", "settled_at", "node", "index", "reservation", "overage", "late", "unattributed", "metadata",
		"corrects", "correction", "reason", "node_number", "charges", "body_hash", "hash")
	c.csv.Write(c.row) // an error stays with the writer until flush
	return c
}

func (c *csvWriter) write(l *client.LedgerLine) error {
	c.row = append(c.row[:0], strconv.FormatUint(l.Seq, 10), l.EventID, l.Kind, l.Account,
		strings.Join(l.Entities, " "), strings.Join(l.Chain, " "), orEmpty(l.Key), orEmpty(l.Member), orEmpty(l.Model))
	for _, capability := range csvUsage {
		amount := ""
		if n, ok := l.Usage[capability]; ok {
			amount = strconv.FormatInt(n, 10)
		}
		c.row = append(c.row, amount)
	}
	charges, err := json.Marshal(l.Charges)
	if err != nil {
		return err
	}
	version := ""
	if l.PriceVersion != nil {
		version = strconv.FormatInt(*l.PriceVersion, 10)
	}
	corrects := ""
	if l.Corrects != nil {
		corrects = strconv.FormatUint(*l.Corrects, 10)
	}
	usage, err := json.Marshal(l.Usage)
	if err != nil {
		return err
	}
	metadata, err := json.Marshal(l.Metadata)
	if err != nil {
		return err
	}
	terms, err := json.Marshal(l.PriceTerms)
	if err != nil {
		return err
	}
	c.row = append(c.row, string(usage), version, orEmpty(l.PriceModel), string(terms), l.ServiceTier, strconv.FormatBool(l.Unpriced),
		l.At.Format(time.RFC3339Nano), l.ReceivedAt.Format(time.RFC3339Nano), l.SettledAt.Format(time.RFC3339Nano), l.Node, strconv.FormatUint(l.Index, 10), orEmpty(l.Reservation),
		strconv.FormatBool(l.Overage), strconv.FormatBool(l.Late), strconv.FormatBool(l.Unattributed), string(metadata),
		corrects, orEmpty(l.Correction), l.Reason, strconv.Itoa(l.NodeNumber), string(charges), l.BodyHash, orEmpty(l.Hash))
	return c.csv.Write(c.row)
}

func (c *csvWriter) flush() error {
	c.csv.Flush()
	return c.csv.Error()
}
