package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/internal/ledgerfile"
)

// exports checks that files of the account's ledger have all of its lines, and add up to what the cluster says they do.
func (c *testCluster) exports(admin string, want int64) {
	c.t.Helper()
	dir := c.t.TempDir()
	file := filepath.Join(dir, "ledger.parquet")
	for _, name := range []string{file, filepath.Join(dir, "ledger.csv"), filepath.Join(dir, "ledger.ndjson")} {
		var r exportReport
		if err := json.Unmarshal([]byte(c.must("ledger", "export", testAccount, name, "--admin", admin, "-o", "json")), &r); err != nil {
			c.t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || r.Lines != want || r.Bytes != info.Size() || r.File != name {
			c.t.Errorf("%+v, %v; want %d lines", r, err, want)
		}
	}
	rows, err := parquet.ReadFile[ledgerfile.Row](file)
	if err != nil {
		c.t.Fatal(err)
	}
	got := map[string]map[string]int64{} // by model, then capability
	for i, r := range rows {
		if r.Seq != int64(i+1) {
			c.t.Fatalf("row %d has seq %d", i, r.Seq)
		}
		if *r.USD != r.Usage["usd"] || *r.InputTokens != r.Usage["input_tokens"] {
			c.t.Errorf("row %d: columns and map differ: %+v", i, r)
		}
		if got[*r.Model] == nil {
			got[*r.Model] = map[string]int64{}
		}
		for capability, n := range r.Usage {
			got[*r.Model][capability] += n
		}
	}
	var sums client.List[client.UsageSum]
	if err := c.get(0, "/v1/accounts/"+testAccount+"/usage?bucket=month&group_by=model&limit=1000", &sums); err != nil {
		c.t.Fatal(err)
	}
	said := map[string]map[string]int64{}
	for _, s := range sums.Items {
		model := *s.Group["model"]
		if said[model] == nil {
			said[model] = map[string]int64{}
		}
		for capability, n := range s.Usage {
			said[model][capability] += n
		}
	}
	if d := cmp.Diff(said, got); d != "" {
		c.t.Errorf("(-usage +file)\n%s", d)
	}
	// A file is whole or not there, and none is written over unasked.
	if code, out := c.command("ledger", "export", testAccount, file, "--admin", admin); code != exitUsage || !strings.Contains(out, "say --force") {
		c.t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := c.command("ledger", "export", "nobody", filepath.Join(dir, "no.parquet"), "--admin", admin); code != exitFailed {
		c.t.Errorf("exit code %d: %s", code, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		c.t.Errorf("files are left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "no.parquet")); err == nil {
		c.t.Error("an export that failed has left a file")
	}
}
