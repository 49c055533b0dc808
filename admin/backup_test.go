package admin

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

func TestBackupIsACopyAsOfItsOwnRecord(t *testing.T) {
	p := newPlane(t)
	p.company()
	sdk, err := client.NewAdmin([]string{p.server.URL}, p.root)
	if err != nil {
		t.Fatal(err)
	}
	defer sdk.Close()
	var out bytes.Buffer
	index, err := sdk.Backup(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	info, err := fsm.CheckSnapshot(bytes.NewReader(out.Bytes()))
	if applied, _ := p.machine.Applied(); err != nil || info.Index != applied || info.Index != index {
		t.Fatalf("%+v, %v; want index %d, which the header says is %d", info, err, applied, index)
	}
	if strings.Contains(out.String(), p.root) {
		t.Error("the root token is in the backup")
	}
	copied := openMachine(t)
	if err := copied.InstallSnapshot(&out); err != nil {
		t.Fatal(err)
	}
	list, _, err := copied.ListAudit(fsm.AuditFilter{Action: "cluster.backup"}, 0, 10)
	if err != nil || len(list) != 1 || list[0].Index != info.Index || list[0].Actor.Type != "token" {
		t.Errorf("the backup's own record is %+v (%v), want one at %d by a token", list, err, info.Index)
	}
}

func TestBackupsAreSentOneAtATime(t *testing.T) {
	p := newPlane(t)
	for range 3000 { // more than the kernel buffers for a caller who does not read
		p.apply(fsm.PutAccount{ID: "a" + strconv.Itoa(int(p.cluster.index)), Name: strings.Repeat("x", fsm.MaxNameBytes)})
	}
	start := func() *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.server.URL+"/v1/cluster/backup", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+p.root)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	first := start()
	if first.StatusCode != 200 {
		t.Fatalf("the first is answered %d", first.StatusCode)
	}
	second := start()
	if second.StatusCode != http.StatusTooManyRequests || second.Header.Get("Retry-After") == "" {
		t.Errorf("while it is sent, another is answered %d, want 429", second.StatusCode)
	}
	if _, err := fsm.CheckSnapshot(first.Body); err != nil {
		t.Errorf("the first: %v", err)
	}
}
