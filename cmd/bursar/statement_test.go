package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// bursar runs a command against node i and returns what it wrote, and its exit code.
func (c *testCluster) bursar(i int, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	cmd := exec.Command(testProgram(c.t), args...)
	cmd.Env = []string{asBursar + "=1", "HOME=" + c.dir, "PATH=" + os.Getenv("PATH"), "BURSAR_ADMIN=http://" + c.nodes[i].admin, "BURSAR_TOKEN=" + c.token}
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Run(); cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return out.String(), bad.String(), cmd.ProcessState.ExitCode()
}

// mustBursar is bursar of a command that has to work.
func (c *testCluster) mustBursar(i int, args ...string) string {
	c.t.Helper()
	out, bad, code := c.bursar(i, args...)
	if code != exitDone {
		c.t.Fatalf("bursar %s: exit code %d\n%s", strings.Join(args, " "), code, bad)
	}
	return out
}

// A month is used, previewed, finalized and corrected on three real nodes; every node writes the same bytes in
// every format, and two that finalize at once make one statement.
func TestStatementsOfACluster(t *testing.T) {
	notShort(t)
	c := startCluster(t, 3, nil)
	c.makeTeam("team-a", 1_000_000)
	today := time.Now().UTC()
	day := func(months, day int) time.Time { // of the month before last, and those after it
		return time.Date(today.Year(), today.Month()-2+time.Month(months), day, 12, 0, 0, 0, time.UTC)
	}
	id := func(months int) string { return day(months, 1).Format("2006-01") }
	use := func(name string, at time.Time, usd int64) {
		t.Helper()
		var answer client.IngestResponse
		event := client.Event{ID: name, Account: testAccount, Entities: []string{"team-a-user"}, Model: "=<b>modèle 東京</b>", At: at,
			Usage: map[string]int64{"requests": 1, "input_tokens": 1_234_567, "usd": usd}}
		if err := c.call(http.MethodPost, "http://"+c.nodes[0].http+"/v1/ingest", client.IngestRequest{Events: []client.Event{event}}, &answer); err != nil || answer.Accepted != 1 {
			t.Fatalf("%s: %+v, %v", name, answer, err)
		}
	}
	settled := func(want int64) { // that many nano-dollars in all
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			var sums client.List[client.UsageSum]
			err := c.get(1, "/v1/accounts/"+testAccount+"/usage?bucket=month", &sums)
			got := int64(0)
			for _, s := range sums.Items {
				got += s.Usage["usd"]
			}
			if err == nil && got != want {
				err = fmt.Errorf("the ledger has %d nano-dollars, want %d", got, want)
			}
			return err
		})
	}
	settings := filepath.Join(t.TempDir(), "invoice.yaml")
	if err := os.WriteFile(settings, []byte("seller: {name: Bursar GmbH, address: [Straße 1]}\nbuyer: {name: \"<script>Acme\"}\nnumbers: {prefix: INV-, digits: 5}\ndue_days: 14\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.mustBursar(0, "statement", "settings", testAccount, settings)
	use("evt-1", day(0, 3), 1_500_000_001)
	use("evt-2", day(1, 3), 2_000_000_000)
	settled(3_500_000_001)

	preview := c.mustBursar(1, "statement", "preview", testAccount)
	if !strings.Contains(preview, "Preview of acme") || !strings.Contains(preview, "1.500000001 USD") {
		t.Errorf("preview:\n%s", preview)
	}
	type result struct {
		out  string
		code int
	}
	both := make(chan result, 2)
	for i := range 2 {
		go func() {
			out, bad, code := c.bursar(i, "statement", "finalize", testAccount, id(0), "--format", "json")
			both <- result{out + bad, code}
		}()
	}
	for range 2 {
		if r := <-both; r.code != exitDone || !strings.Contains(r.out, `"number":"INV-00001"`) {
			t.Errorf("finalized at once: %d %s", r.code, r.out)
		}
	}
	use("evt-3", day(0, 4), 11)
	settled(3_500_000_012)
	c.mustBursar(0, "ledger", "void", testAccount, "evt-1", "--reason", "billed twice")

	begins := map[string]string{"json": `{"id":"` + id(0) + `"`, "csv": "account,statement,", "html": "<!DOCTYPE html>", "pdf": "%PDF-"}
	for format, begin := range begins {
		var first []byte
		for i := range c.nodes {
			file := filepath.Join(c.dir, fmt.Sprint(i, ".", format))
			c.mustBursar(i, "statement", "show", testAccount, id(0), "--format", format, "-o", file)
			data, err := os.ReadFile(file)
			if err != nil || !bytes.HasPrefix(data, []byte(begin)) || bytes.Contains(data, []byte("<script>Acme")) && format == "html" {
				t.Fatalf("%s of node %d: %v\n%.500s", format, i, err, data)
			}
			if i == 0 {
				first = data
			} else if !bytes.Equal(first, data) {
				t.Errorf("%s of node %d has other bytes than that of node 0", format, i)
			}
		}
		if format == "csv" {
			if records, err := csv.NewReader(bytes.NewReader(first)).ReadAll(); err != nil || len(records) < 10 {
				t.Errorf("csv: %v %q", err, records)
			}
		}
	}

	// The month after may not be over for a day yet, on the first of a month: its preview says the same.
	var next client.Statement
	if err := json.Unmarshal([]byte(c.mustBursar(2, "statement", "preview", testAccount, id(1), "--format", "json", "--depth", "2")), &next); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, a := range next.Adjustments {
		got[a.Kind+" "+a.Period.Format("2006-01")+" "+a.Reason] += a.Usage["usd"]
	}
	if diff := cmp.Diff(map[string]int64{"late " + id(0) + " ": 11, "void " + id(0) + " billed twice": -1_500_000_001}, got); diff != "" {
		t.Errorf("adjustments (-want +got)\n%s", diff)
	}
	if len(next.Usage) != 1 || *next.Usage[0].Entity != "team-a-user" || next.Invoice.Total != 2_000_000_000+11-1_500_000_001 {
		t.Errorf("next: %+v, total %d", next.Usage, next.Invoice.Total)
	}
	if list := c.mustBursar(2, "statement", "list", testAccount); !strings.Contains(list, "INV-00001") || strings.Count(list, "\n") != 2 {
		t.Errorf("list:\n%s", list)
	}
	if _, bad, code := c.bursar(0, "statement", "show", testAccount, "1999-01"); code != exitFailed || !strings.Contains(bad, "no statement") {
		t.Errorf("show of what is not there: %d %s", code, bad)
	}
	if _, bad, code := c.bursar(0, "statement", "finalize", testAccount, time.Now().UTC().Format("2006-01")); code != exitFailed || !strings.Contains(bad, "first") {
		t.Errorf("finalizing this month: %d %s", code, bad)
	}
	c.stopAll()
}

// A store of a release that had no statements, and no hashes on its lines, opens and is stated: what it holds has no hash of
// its own, and is covered all the same.
func TestStatementsOfGoldenDataDirectories(t *testing.T) {
	releases, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		t.Run(release.Name(), func(t *testing.T) {
			dir := t.TempDir()
			unpackGolden(t, release.Name(), dir)
			want := readGolden(t, release.Name())
			state := filepath.Join(dir, "node-1", "state")
			open := func() *fsm.Machine {
				m, err := fsm.Open(state, fsm.Options{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			m := open()
			if heads, _, err := m.ListStatements(testAccount, "", 10); err != nil || len(heads) != 0 {
				t.Fatalf("statements of the release before there were any: %v, %v", heads, err)
			}
			draft, err := m.DraftStatement(t.Context(), testAccount, fsm.StatementQuery{})
			if err != nil {
				t.Fatal(err)
			}
			if n := int(draft.Lines.Count); n == 0 || n > len(want.Events) || draft.Usage[0].Events != int64(n) {
				t.Errorf("%d lines are stated, the cluster had %d events: %+v", n, len(want.Events), draft.Usage)
			}
			index, term := m.Applied()
			data, err := fsm.Encode(&fsm.Command{ID: "golden", At: draft.To + fsm.DefaultCloseLag.Milliseconds(), Leader: 1, Body: fsm.FinalizeStatement{Head: draft.StatementHead, Rows: draft.StatementRows}})
			if err != nil {
				t.Fatal(err)
			}
			if out, err := m.Apply([]fsm.Entry{{Index: index + 1, Term: term, Data: data}}); err != nil || out[0].Err != nil {
				t.Fatalf("finalize: %v, %v", out, err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m = open()
			defer m.Close()
			stored, err := m.Statement(testAccount, draft.ID)
			if err != nil {
				t.Fatal(err)
			}
			sum := fsm.RecomputeStatement(stored)
			lines, _, err := m.ListLedger(testAccount, fsm.LedgerFilter{OldestFirst: true}, 0, fsm.MaxPage)
			for i := range lines {
				if err == nil {
					err = sum.Add(&lines[i])
				}
			}
			if wrong := sum.Check(stored, nil); err != nil || len(wrong) > 0 {
				t.Errorf("recomputed: %q, %v", wrong, err)
			}
		})
	}
}
