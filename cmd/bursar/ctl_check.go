package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/client"
)

// callFlags say who calls and with what.
type callFlags struct {
	Account  string   `arg:"" optional:"" help:"Id of the account."`
	Entities []string `arg:"" optional:"" name:"entity" help:"Entities that make the call."`

	Key    string            `help:"The end user's key, instead of account and entities." placeholder:"bk_…"`
	Usage  map[string]string `short:"u" mapsep:"," help:"Amounts, as tokens=1200 or usd=0.25; one request if left out." placeholder:"CAPABILITY=AMOUNT"`
	Raw    bool              `help:"Amounts are integers in the smallest unit."`
	Model  string            `help:"Model that is called."`
	Member string            `help:"Person on whose behalf."`
}

// usage reads the amounts.
func (f *callFlags) usage(ctx context.Context, s *session) (client.Usage, error) {
	if len(f.Usage) == 0 {
		return nil, nil
	}
	usage := make(client.Usage, len(f.Usage))
	for _, id := range slices.Sorted(maps.Keys(f.Usage)) {
		decimals := 0
		if !f.Raw {
			c, err := s.capability(ctx, id)
			if errors.Is(err, client.ErrForbidden) {
				return nil, usageError{fmt.Errorf("this token may not read the decimals of %s: give amounts in the smallest unit with --raw", id)}
			}
			if err != nil {
				return nil, err
			}
			decimals = c.Decimals
		}
		n, err := parseAmount(f.Usage[id], decimals)
		if err != nil {
			return nil, usageError{fmt.Errorf("--usage %s: %w", id, err)}
		}
		usage[id] = n
	}
	return usage, nil
}

// checkCmd exits with 1 when the answer is no, so that a script can ask.
type checkCmd struct {
	callFlags
	IP      string        `name:"ip" help:"Address that the call comes from."`
	Reserve time.Duration `help:"Hold the amounts for so long (1s to 1h)." placeholder:"DURATION"`
	Explain bool          `help:"Show every budget that applies."`
	dataFlags
}

// Help is shown below the flags' summary.
func (*checkCmd) Help() string {
	return "The exit code is 0 if the call is allowed and 1 if not. Without --reserve nothing changes."
}

// errDenied is the exit code of a check that was answered no.
var errDenied = errors.New("denied")

func (c *checkCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session, cl *client.Client) error {
		usage, err := c.usage(ctx, s)
		if err != nil {
			return err
		}
		d, err := cl.Check(ctx, client.CheckRequest{
			Account: c.Account, Entities: c.Entities, Key: c.Key, Usage: usage, Model: c.Model, IP: c.IP, Member: c.Member,
			ReserveTTLMS: c.Reserve.Milliseconds(), Explain: c.Explain,
		})
		if err != nil {
			return err
		}
		if err := showDecision(ctx, s, d); err != nil {
			return err
		}
		if !d.Allowed {
			return errDenied
		}
		return nil
	})
}

func showDecision(ctx context.Context, s *session, d *client.CheckResponse) error {
	if s.format == outputJSON {
		return writeJSON(s.out, d)
	}
	verdict := "denied"
	if d.Allowed {
		verdict = "allowed"
	}
	fmt.Fprintf(s.out, "%s: %s\n", verdict, d.Code)
	if n := d.DeniedBy; n != nil {
		writeDenial(ctx, s, n)
	}
	if d.Policy != "" {
		fmt.Fprintf(s.out, "policy: %s\n", visible(d.Policy))
	}
	if d.Reservation != "" {
		fmt.Fprintf(s.out, "reservation: %s until %s\n", visible(d.Reservation), at(d.ExpiresAt))
	}
	if len(d.Remaining) > 0 {
		fmt.Fprintf(s.out, "remaining: %s\n", usageText(ctx, s, d.Remaining))
	}
	for _, w := range d.Warnings {
		dec := s.decimals(ctx, w.Capability).Decimals
		fmt.Fprintf(s.out, "warning: %s: %s of %s: used %s of %s\n", visible(w.Code), visible(w.Capability), visible(w.Entity),
			formatAmount(w.Used, dec), formatAmount(w.Limit, dec))
	}
	if len(d.Chain) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	return showChain(ctx, s, d.Chain)
}

func writeDenial(ctx context.Context, s *session, n *client.Denial) {
	c := s.decimals(ctx, n.Capability)
	fmt.Fprintf(s.out, "%s (%s) may use %s %s of %s per %s: used %s, reserved %s, requested %s; resets %s\n",
		visible(n.Entity), visible(n.Type), formatAmount(n.Limit, c.Decimals), c.Unit, visible(n.Capability), visible(describeCadence(n.Cadence)),
		formatAmount(n.Used, c.Decimals), formatAmount(n.Reserved, c.Decimals), formatAmount(n.Requested, c.Decimals), resets(n.ResetsAt))
}

type chainRow struct {
	client.ChainRow
	capability client.Capability
}

var chainColumns = []column[chainRow]{
	{title: "ENTITY", cell: func(r chainRow) string { return r.Entity }},
	{title: "TYPE", cell: func(r chainRow) string { return r.Type }},
	{title: "CAPABILITY", cell: func(r chainRow) string { return r.Capability }},
	{title: "SCOPE", cell: func(r chainRow) string { return strings.Join(r.Scope, ",") }},
	{title: "EVERY", cell: func(r chainRow) string { return describeCadence(r.Cadence) }},
	{title: "ENFORCEMENT", cell: func(r chainRow) string { return r.Enforcement }},
	{title: "LIMIT", number: true, cell: func(r chainRow) string { return formatLimit(r.Limit, r.capability.Decimals) }},
	{title: "USED", number: true, cell: func(r chainRow) string { return formatAmount(r.Used, r.capability.Decimals) }},
	{title: "RESERVED", number: true, cell: func(r chainRow) string { return formatAmount(r.Reserved, r.capability.Decimals) }},
	{title: "REMAINING", number: true, cell: func(r chainRow) string { return formatLimit(r.Remaining, r.capability.Decimals) }},
	{title: "RESETS", cell: func(r chainRow) string { return resets(r.ResetsAt) }},
	{title: "ALLOWED", cell: func(r chainRow) string { return yes(r.Allowed) }},
}

func showChain(ctx context.Context, s *session, chain []client.ChainRow) error {
	row := func(r client.ChainRow) chainRow {
		return chainRow{ChainRow: r, capability: s.decimals(ctx, r.Capability)}
	}
	return writeTable(s.out, chainColumns, mapped(chain, row))
}

type reservationCmd struct {
	Release reservationReleaseCmd `cmd:"" help:"Set a hold free."`
	Extend  reservationExtendCmd  `cmd:"" help:"Make a hold last longer."`
}

type reservationReleaseCmd struct {
	Reservation string `arg:"" help:"Id of the reservation."`
	dataFlags
}

func (c *reservationReleaseCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session, cl *client.Client) error {
		released, err := cl.ReleaseReservation(ctx, c.Reservation)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, client.ReleaseResponse{Released: released})
		}
		_, err = fmt.Fprintf(s.out, "released: %s\n", visible(usageText(ctx, s, released)))
		return err
	})
}

type reservationExtendCmd struct {
	Reservation string        `arg:"" help:"Id of the reservation."`
	TTL         time.Duration `arg:"" name:"ttl" help:"How long from now (1s to 1h)."`
	dataFlags
}

func (c *reservationExtendCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.with(k, func(s *session, cl *client.Client) error {
		expires, err := cl.ExtendReservation(ctx, c.Reservation, c.TTL)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, client.ExtendResponse{ExpiresAt: expires})
		}
		_, err = fmt.Fprintf(s.out, "expires: %s\n", expires.UTC().Format(time.RFC3339))
		return err
	})
}

// ingestSummary is what ingest prints.
type ingestSummary struct {
	Accepted   uint64             `json:"accepted"`
	Duplicates uint64             `json:"duplicates"`
	Rejected   []client.Rejection `json:"rejected"`
}

func (sum ingestSummary) write(w io.Writer, format string) error {
	if format == outputJSON {
		return writeJSON(w, sum)
	}
	fmt.Fprintf(w, "accepted: %s, duplicates: %s, rejected: %d\n",
		strconv.FormatUint(sum.Accepted, 10), strconv.FormatUint(sum.Duplicates, 10), len(sum.Rejected))
	for _, r := range sum.Rejected {
		fmt.Fprintf(w, "rejected %s: %s: %s\n", visible(r.ID), visible(r.Code), visible(r.Detail))
	}
	return nil
}
